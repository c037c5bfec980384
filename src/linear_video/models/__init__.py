"""The models. This package does not import the datasets or Kedro."""
