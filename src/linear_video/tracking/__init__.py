"""What happens around a run: parameters are checked first; results are logged and tracked in MLflow."""
