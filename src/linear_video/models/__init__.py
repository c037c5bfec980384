"""The models. Know no clips' sources and no Kedro."""
