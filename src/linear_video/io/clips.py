"""Kedro datasets of frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import DatasetError
from kedro_datasets.partitions import PartitionedDataset
from numpy.typing import NDArray
from tqdm import tqdm

from linear_video.clips.base import ClipSet, ClipStream
from linear_video.common import storage
from linear_video.common.errors import InputError
from linear_video.common.files import recover, replacing_file, replacing_folder
from linear_video.io.base import PathDataset
from linear_video.io.files import JSONDataset
from linear_video.io.zarr_frames import ARRAY, StoredFrames, packed, unpack


class ClipSetDataset(PathDataset[ClipSet | ClipStream, ClipSet]):
    """A folder with ``frames.npy`` (memory-mapped when loaded) and ``clips.parquet``.

    And, if known, ``states.parquet`` and ``actions.npy``. At a URL, the frames are a Zarr array in place of
    ``frames.npy``; the copy on this machine is as a local folder. With ``by_clip``, there is no copy of the frames:
    each clip is read from the store when it is asked for.
    """

    witness = "clips.parquet"

    def __init__(self, *, filepath: str, by_clip: bool = False, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._by_clip = by_clip and self._stored

    def _fetch(self) -> None:
        storage.fetch_folder(self._filepath, unpack)
        recover(self._filepath)

    def _put(self) -> None:
        if self._stored:
            with packed(self._filepath) as folder:
                storage.put_folder(self._filepath, folder)

    def load(self) -> ClipSet:
        """Open the clips without reading their frames."""
        if self._by_clip:
            return self._open_stored()
        self._fetch()
        return self._open(self._filepath)

    def _open_stored(self) -> ClipSet:
        """Fetch all but the frames."""
        names = storage.names_in(self._filepath) or []
        for name in names:
            if not name.startswith(f"{ARRAY}/"):
                storage.fetch_file(self._filepath / name)
        frames: Any = StoredFrames(storage.name_of(self._filepath)) if names else None
        return self._open(self._filepath, frames)

    def _open(self, folder: Path, frames: NDArray[np.uint8] | None = None) -> ClipSet:
        states, actions = folder / "states.parquet", folder / "actions.npy"
        try:
            if frames is None:
                frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
            return ClipSet(
                frames,
                pd.read_parquet(folder / "clips.parquet"),
                pd.read_parquet(states) if states.exists() else None,
                np.load(actions, allow_pickle=False) if actions.exists() else None,
            )
        except (ValueError, EOFError) as error:
            raise InputError(f"{folder} holds no valid clips ({error}); make them again.") from error

    def save(self, data: ClipSet | ClipStream) -> None:
        """Replace the folder."""
        with replacing_folder(self._filepath) as folder:
            data.table.to_parquet(folder / "clips.parquet")
            if isinstance(data, ClipStream):
                _write_stream(folder / "frames.npy", data)
            else:
                np.save(folder / "frames.npy", data.frames, allow_pickle=False)
                if data.states is not None:
                    data.states.to_parquet(folder / "states.parquet")
                if data.actions is not None:
                    np.save(folder / "actions.npy", data.actions, allow_pickle=False)
        self._put()


def _write_stream(path: Path, clips: ClipStream) -> None:
    """Write frames as they come, in the layout of ``np.save``; a memory map would count as memory of ours."""
    shape = (len(clips.table), *clips.clip_shape)
    with path.open("wb") as file, tqdm(total=shape[0], desc="writing clips", unit="clip", mininterval=0.5) as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        written = 0
        for piece in clips.pieces():
            if piece.dtype != np.uint8 or piece.shape[1:] != clips.clip_shape:
                raise ValueError(f"a piece of {piece.dtype} {piece.shape} does not hold clips of {clips.clip_shape}.")
            file.write(np.ascontiguousarray(piece).data)
            written += len(piece)
            bar.update(len(piece))
    if written != shape[0]:
        raise ValueError(f"{written} clips came for {shape[0]} rows of the table.")


class ResultsDataset(PartitionedDataset):
    """Files of the same kind in many folders, by the name of the folder; an empty dictionary, if there are none."""

    def load(self) -> dict[str, Any]:
        """What reads each file when it is called."""
        self._invalidate_caches()
        return super().load() if self.exists() else {}

    def files(self) -> list[Path]:
        """The files that are there now."""
        if storage.is_url(self._path):
            self._invalidate_caches()
            return sorted(storage.place(self._join_protocol(path)) for path in self._list_partitions())
        return sorted(Path(self._path).rglob(f"*{self._filename_suffix}"))


class ArrayDataset(PathDataset[NDArray[Any], NDArray[Any]]):
    """One array in a ``.npy`` file, without pickle."""

    def load(self) -> NDArray[Any]:
        """Read the array."""
        self._fetch()
        try:
            return np.asarray(np.load(self._filepath, allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise InputError(f"{self._filepath} holds no valid array ({error}); make it again.") from error

    def save(self, data: NDArray[Any]) -> None:
        """Replace the file."""
        with replacing_file(self._filepath) as part, part.open("wb") as file:
            np.save(file, data, allow_pickle=False)
        self._put()


class FactsDataset(JSONDataset):
    """A JSON file that may not be there yet, and is empty then."""

    def load(self) -> Any:
        """What the file says; an empty dictionary, if there is none."""
        try:
            facts = super().load() if self.exists() else {}
        except DatasetError as error:
            cause = error.__cause__ or error
            raise InputError(
                f"{self._filepath} is not a JSON file ({cause}); run again from the node predict."
            ) from error
        if not isinstance(facts, dict):
            raise InputError(f"{self._filepath} holds no facts; run again from the node predict.")
        return facts
