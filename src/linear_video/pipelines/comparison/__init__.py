"""Compare all models of a dataset."""
