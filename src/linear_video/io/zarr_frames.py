"""Frames of clips as a Zarr array, which is how they lie in a store: compressed, and read clip by clip."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError

FRAMES, ARRAY = "frames.npy", "frames.zarr"
SHARD = 2**25  # bytes of frames in one object of the store, about; each holds whole clips
LEVEL = 1  # of Zstandard: higher ones take much longer for a few per cent


@contextmanager
def packed(folder: Path) -> Iterator[Path]:
    """Give a folder of the same content with the frames as a Zarr array, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.packed.") as place:
        for file in folder.iterdir():
            if file.name != FRAMES:
                shutil.copyfile(file, Path(place, file.name))
        write_array(Path(place, ARRAY), np.load(folder / FRAMES, mmap_mode="r", allow_pickle=False))
        yield Path(place)


def unpack(folder: Path) -> None:
    """Replace the Zarr array in a folder by ``frames.npy``, which can be memory-mapped."""
    if not (folder / ARRAY).is_dir():
        return
    array = _zarr().open_array(str(folder / ARRAY), mode="r")
    frames = np.lib.format.open_memmap(folder / FRAMES, "w+", array.dtype, array.shape)
    step = array.shards[0] if array.shards else array.chunks[0]
    for first in range(0, len(frames), step):
        frames[first : first + step] = array[first : first + step]
    frames.flush()
    del frames
    shutil.rmtree(folder / ARRAY)


def write_array(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write frames (N, T, C, H, W) as a Zarr array with a compressed chunk for each clip, many to a file."""
    from zarr.codecs import ZstdCodec

    clip = frames.shape[1:]
    step = max(1, min(len(frames), SHARD // max(1, int(np.prod(clip)))))
    array = _zarr().create_array(
        str(path),
        shape=frames.shape,
        dtype=frames.dtype,
        chunks=(1, *clip),
        shards=(step, *clip),
        compressors=ZstdCodec(level=LEVEL),
    )
    for first in range(0, len(frames), step):
        array[first : first + step] = frames[first : first + step]


class StoredFrames:
    """Frames uint8 (N, T, C, H, W) of clips in a store; those that are asked for are read, and no others."""

    def __init__(self, url: str) -> None:
        zarr = _zarr()
        self._array = zarr.open_array(zarr.storage.FsspecStore.from_url(f"{url}/{ARRAY}", read_only=True), mode="r")
        self.shape, self.dtype, self.ndim = self._array.shape, self._array.dtype, self._array.ndim

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """As an array in memory gives it."""
        first, *others = index if isinstance(index, tuple) else (index,)
        chosen = np.arange(len(self))[first]
        numbers, where = np.unique(chosen, return_inverse=True)
        frames = np.asarray(self._array.oindex[numbers])
        if isinstance(first, slice):
            return np.asarray(frames[where][(slice(None), *others)])
        return np.asarray(frames[(where.reshape(np.shape(chosen)), *others)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._array[:], dtype)


def _zarr() -> Any:
    try:
        import zarr
        import zarr.storage
    except ImportError as error:
        raise InputError(
            "clips at a URL need the package zarr: pip install 'linear-video[storage]' (docs/how_to/storage.md)."
        ) from error
    return zarr
