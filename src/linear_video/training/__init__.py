"""Fit any model. This package does not import Kedro."""
