"""How likely frames are, given their forecasts."""

import torch
from torch import Tensor

from linear_video.models.ile.linear_prior import LOG_TWO_PI

# An exact prediction would have an infinite density.
LEAST_FRAME_VARIANCE, LEAST_PIXEL_VARIANCE = 1e-5, 4e-4


def forecast_log_density(predicted: Tensor, truth: Tensor) -> Tensor:
    """Log density of true frames (N, T, C, H, W) around predicted ones, in nats per value: a scalar.

    The density is Gaussian with the best variance: log N = -1/2 log(2 pi e MSE). MSE is the squared error of each frame
    or of each pixel; the result is the mean of the two. A variance for each frame rewards PSNR; one for each pixel is
    heavy-tailed, and keeps faint noise off the background.
    """
    error = predicted - truth
    # Predictions are clipped, so black and white pixels may have been predicted beyond [0, 1] without error.
    error = torch.where(truth <= 0, error.clamp_min(0), torch.where(truth >= 1, error.clamp_max(0), error))
    squared_error = error.square()
    of_frames = (squared_error.mean((2, 3, 4)) + LEAST_FRAME_VARIANCE).log().mean()
    of_pixels = (squared_error + LEAST_PIXEL_VARIANCE).log().mean()
    return -0.5 * (LOG_TWO_PI + 1 + (of_frames + of_pixels) / 2)
