"""What takes long to import, for processes that start with it: see ``processes.py``."""

import cv2
import kedro.io
import kedro_datasets.pandas
import lightning.pytorch
import matplotlib.figure
import pandas as pd
import torch

__all__ = ["cv2", "kedro", "kedro_datasets", "lightning", "matplotlib", "pd", "torch"]

torch.set_num_threads(1)
