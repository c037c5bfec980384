"""Train a model on a dataset."""
