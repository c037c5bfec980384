"""Make and read clips. This package does not import Kedro or the models."""
