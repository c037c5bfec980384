"""Modules that take long to import, which processes are forked with: see ``processes.py``."""

import cv2
import kedro.io
import kedro_datasets.pandas
import lightning.pytorch
import matplotlib.figure
import pandas as pd
import scipy.io.matlab
import torch

__all__ = ["cv2", "kedro", "kedro_datasets", "lightning", "matplotlib", "pd", "scipy", "torch"]

torch.set_num_threads(1)
