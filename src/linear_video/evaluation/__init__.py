"""Scores and figures of any model's predictions. This package does not import Kedro."""
