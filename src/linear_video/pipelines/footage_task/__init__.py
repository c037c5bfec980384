"""Apply a trained model to your own footage."""
