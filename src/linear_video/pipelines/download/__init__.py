"""Fetch the files of a dataset that may be had openly."""
