"""Kedro datasets."""
