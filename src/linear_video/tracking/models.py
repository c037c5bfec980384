"""Every trained model is kept in MLflow, which serves it."""

import logging
import warnings
from importlib.metadata import version
from pathlib import Path

logger = logging.getLogger(__name__)

SERVED_WITH = ("torch", "safetensors", "numpy", "scipy", "pandas", "opencv-python-headless", "mlflow")


def log_model(folder: Path, name: str) -> None:
    """Log the model of a folder under a name, so that ``linear_video.load`` finds it: ``runs:/<run>/<name>``."""
    import mlflow
    import numpy as np

    from linear_video.models.checkpoint import load_config
    from linear_video.tracking import serving

    channels, height, width = load_config(folder)["frame_shape"]
    example = np.zeros((10, height, width, channels), np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Add type hints.*")
        logged = mlflow.pyfunc.log_model(
            name=name,
            python_model=serving.__file__,
            artifacts={"checkpoint": str(folder)},
            signature=serving.SIGNATURE,
            input_example=example,
            pip_requirements=[f"{package}=={version(package)}" for package in SERVED_WITH],
        )
    logger.info(f"The trained model is in MLflow: runs:/{logged.run_id}/{name}")
