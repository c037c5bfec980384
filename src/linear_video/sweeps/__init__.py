"""Sweeps: one experiment with many settings, by Optuna, as nested runs in MLflow."""
