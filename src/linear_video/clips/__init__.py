"""Make and read clips. Knows no model and no Kedro."""
