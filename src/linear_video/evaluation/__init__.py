"""Scores and figures of any model's predictions. Knows no Kedro."""
