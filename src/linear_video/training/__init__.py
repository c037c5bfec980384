"""Fitting any model. Knows no Kedro."""
