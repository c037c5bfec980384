"""What a trained model does with your own footage. This package does not import Kedro."""
