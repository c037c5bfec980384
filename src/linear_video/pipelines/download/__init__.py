"""Fetch the files of a dataset that is openly available."""
