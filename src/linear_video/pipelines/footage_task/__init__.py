"""A trained model on footage of one's own."""
