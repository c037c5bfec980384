"""What a trained model does with footage of one's own. Knows no Kedro."""
