"""Make the clips of a dataset, count and show them."""
