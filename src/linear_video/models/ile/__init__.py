"""The Invertible Linear Embedding."""
