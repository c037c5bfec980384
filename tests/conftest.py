"""Fixtures that several test files share."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# No test depends on how busy the machine is; fifty examples of a property keep the suite quick.
settings.register_profile("linear_video", deadline=None, max_examples=50)
settings.load_profile("linear_video")

# Models in tests are tiny: a second thread would only wait, especially on a busy machine.
torch.set_num_threads(1)

WriteIdx = Callable[[Path, np.ndarray], None]


@pytest.fixture
def repository() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture
def write_idx() -> WriteIdx:
    """Write an array as an idx file of unsigned bytes, byte by byte as the format is defined; ``.gz`` is compressed."""

    def write(path: Path, values: np.ndarray) -> None:
        content = bytes([0, 0, 0x08, values.ndim])
        for size in values.shape:
            content += struct.pack(">I", size)
        content += bytes(int(value) for value in values.ravel())
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write
