"""What happens around a run: parameters are checked before it, results told and tracked in MLflow."""
