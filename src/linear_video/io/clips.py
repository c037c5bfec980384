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
from linear_video.common.errors import InputError
from linear_video.common.files import recover, replacing_file, replacing_folder
from linear_video.io.base import PathDataset
from linear_video.io.files import JSONDataset


class ClipSetDataset(PathDataset[ClipSet | ClipStream, ClipSet]):
    """A folder with ``frames.npy`` (memory-mapped when loaded) and ``clips.parquet``.

    And, if known, ``states.parquet`` and ``actions.npy``.
    """

    witness = "clips.parquet"

    def load(self) -> ClipSet:
        """Open the clips without reading their frames."""
        folder = self._filepath
        recover(folder)
        states, actions = folder / "states.parquet", folder / "actions.npy"
        try:
            return ClipSet(
                np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False),
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
                return
            np.save(folder / "frames.npy", data.frames, allow_pickle=False)
            if data.states is not None:
                data.states.to_parquet(folder / "states.parquet")
            if data.actions is not None:
                np.save(folder / "actions.npy", data.actions, allow_pickle=False)


def _write_stream(path: Path, clips: ClipStream) -> None:
    """Write frames as they come, in the layout of ``np.save``; a memory map would count as memory of ours."""
    shape = (len(clips.table), *clips.clip_shape)
    with path.open("wb") as file, tqdm(total=shape[0], desc="writing clips", unit="clip", mininterval=0.5) as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        written = 0
        for piece in clips.pieces():
            if piece.dtype != np.uint8 or piece.shape[1:] != clips.clip_shape:
                raise ValueError(f"a piece of {piece.dtype} {piece.shape} is no clips of {clips.clip_shape}.")
            file.write(np.ascontiguousarray(piece).data)
            written += len(piece)
            bar.update(len(piece))
    if written != shape[0]:
        raise ValueError(f"{written} clips came for {shape[0]} rows of the table.")


class ResultsDataset(PartitionedDataset):
    """Files of the same kind in many folders, by the name of the folder; an empty dictionary, if there are none."""

    def load(self) -> dict[str, Any]:
        """What reads each file when it is called."""
        return super().load() if self.exists() else {}

    def files(self) -> list[Path]:
        """The files that are there now."""
        return sorted(Path(self._path).rglob(f"*{self._filename_suffix}"))


class ArrayDataset(PathDataset[NDArray[Any], NDArray[Any]]):
    """One array in a ``.npy`` file, without pickle."""

    def load(self) -> NDArray[Any]:
        """Read the array."""
        try:
            return np.asarray(np.load(self._filepath, allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise InputError(f"{self._filepath} holds no valid array ({error}); make it again.") from error

    def save(self, data: NDArray[Any]) -> None:
        """Replace the file."""
        with replacing_file(self._filepath) as part, part.open("wb") as file:
            np.save(file, data, allow_pickle=False)


class FactsDataset(JSONDataset):
    """A JSON file that may not be there yet, and is empty then."""

    def load(self) -> Any:
        """What the file says; an empty dictionary, if there is none."""
        try:
            facts = super().load() if self.exists() else {}
        except DatasetError as error:
            cause = error.__cause__ or error
            raise InputError(f"{self._filepath} is no JSON file ({cause}); run again from the node predict.") from error
        if not isinstance(facts, dict):
            raise InputError(f"{self._filepath} holds no facts; run again from the node predict.")
        return facts
