"""Kedro pipelines: one folder each, with nodes and their wiring."""
