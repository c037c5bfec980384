"""A small classifier that reads the digits or letters of synthesised frames, trained apart from every model."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

STEPS, IMAGES_PER_STEP, LEARNING_RATE = 2500, 64, 2e-3
LARGEST_SHIFT = 2  # pixels of 32, and degrees: random moves make many images of few
LARGEST_TURN = 10


def train_reader(images: NDArray[np.uint8], labels: NDArray[np.int64], seed: int) -> nn.Module:
    """Train a classifier of images uint8 (N, C, H, W) with labels 0 .. K - 1 (N,); the same seed gives the same one."""
    pixels, classes = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread gains little here, and waits long if another program has the core
    try:
        return _train(pixels, classes, seed)
    finally:
        torch.set_num_threads(threads)


def _train(pixels: Tensor, classes: Tensor, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # seeds only the CPU
        channels = (16, 32, 32)
        layers: list[nn.Module] = []
        for before, after in zip((pixels.shape[1], *channels), channels, strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        last = nn.LazyLinear(int(classes.max()) + 1)
        reader = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), last)
        reader(pixels[:1])
        optimizer = torch.optim.Adam(reader.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(len(pixels), (IMAGES_PER_STEP,))
            loss = F.cross_entropy(reader(_moved(pixels[chosen])), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return reader.eval()


def _moved(images: Tensor) -> Tensor:
    """Images (N, C, H, W), each shifted and turned a little at random."""
    count = len(images)
    angle = (torch.rand(count) * 2 - 1) * np.deg2rad(LARGEST_TURN)
    shift = (torch.rand(count, 2) * 2 - 1) * (2 * LARGEST_SHIFT / 32)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), dim=1).view(count, 2, 2)
    grid = F.affine_grid(torch.cat((turn, shift[:, :, None]), dim=2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def read(reader: nn.Module, frames: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels of frames uint8 (..., C, H, W), and the reader's confidence in [0, 1]."""
    flat = frames.reshape(-1, *frames.shape[-3:])
    found = [
        reader(torch.from_numpy(flat[i : i + 500]).float() / 255).softmax(1).max(1) for i in range(0, len(flat), 500)
    ]
    labels = torch.cat([most.indices for most in found]).numpy().reshape(frames.shape[:-3])
    confidence = torch.cat([most.values for most in found]).numpy().reshape(frames.shape[:-3])
    return labels, confidence
