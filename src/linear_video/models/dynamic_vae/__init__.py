"""The Dynamic VAE."""
