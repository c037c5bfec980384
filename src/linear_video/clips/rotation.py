"""Clips of objects on a turntable: small NORB, and folders of pictures in the form of COIL-20 and COIL-100."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linear_video.clips.base import SPLITS, ClipStream, DatasetSettings, Judge, Made, Split
from linear_video.clips.readers.norb import AZIMUTHS, CATEGORIES, NorbPart, find_norb, open_norb
from linear_video.clips.readers.recordings import natural_order, read_image
from linear_video.common.checks import check_choice, check_least
from linear_video.common.errors import InputError
from linear_video.common.files import files_below
from linear_video.common.images import resized

NORB_DEGREES = 360 // AZIMUTHS
COIL_NAME = re.compile(r"(obj\d+)__(\d+)\.png", re.IGNORECASE)
CLIPS = ["source", "label", "start", "lighting", "elevation", "camera", "turn", "direction"]
SOURCES = ["source", "label", "frames", "clips", "reason"]

View = tuple[NorbPart, int] | Path  # part and row of an image pair; or a picture's file
Configuration = tuple[int, int]  # (lighting, elevation)


@dataclass(frozen=True)
class RotationSettings(DatasetSettings):
    """How views of objects become clips of rotation.

    COIL has only one lighting and elevation. If ``degrees_per_frame`` spans k of its views, they are dealt to k
    interleaved turns, and the number of the turn takes the place of the elevation.

    Attributes:
        raw_folder: small NORB's six (or three) matrix files, or pictures ``obj{n}__{view}.png``.
        object: name of one object (``car/4``, ``obj1``), ``"first"`` or ``"all"``.
        unusable: ``"skip"`` leaves out objects that cannot be used, ``"fail"`` stops the run; both list them.
        frame_size: side of the square frame.
        channels: 1 (grey) or 3 (red, green, blue).
        frames: number of frames in a clip; after the last view of a turn comes the first one.
        window_step: frames from the start of one clip to the next, within a whole turn.
        degrees_per_frame: a multiple of the data's own step (NORB 20, COIL 5) that divides 360.
        directions: ``"forward"`` (growing azimuth), ``"backward"`` (falling azimuth), or both.
        cameras: which of NORB's two cameras are used; each gives its own sequences.
        validation: (lighting, elevation), from 0, of the clips that are held out for validation.
        test: (lighting, elevation), from 0, of the clips that are held out for the test.
    """

    judge: ClassVar[Judge] = "rotation"
    lists_sources: ClassVar[bool] = True

    raw_folder: str
    object: str = "first"
    unusable: Literal["skip", "fail"] = "skip"
    frame_size: int = 48
    channels: int = 1
    frames: int = 19  # a whole turn, and the first view again
    window_step: int = 18
    degrees_per_frame: int = 20
    directions: list[Literal["forward", "backward"]] = field(default_factory=lambda: ["forward"])
    cameras: list[Literal[0, 1]] = field(default_factory=lambda: [0, 1])
    validation: tuple[int, int] = (0, 1)
    test: tuple[int, int] = (0, 3)

    def __post_init__(self) -> None:
        check_least(self, 1, "frame_size", "window_step", "degrees_per_frame")
        check_least(self, 2, "frames")
        check_choice(self, (1, 3), "channels")
        if 360 % self.degrees_per_frame:
            raise ValueError(f"degrees_per_frame must divide 360, but is {self.degrees_per_frame}.")
        for name in ("directions", "cameras"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must name at least one, and none twice, not {values}.")
        for name in ("validation", "test"):
            if min(getattr(self, name)) < 0:
                values = list(getattr(self, name))
                raise ValueError(f"{name} must be [lighting, elevation], both at least 0, not {values}.")
        if list(self.validation) == list(self.test):
            raise ValueError(f"validation and test must differ, but both are (lighting, elevation) {list(self.test)}.")

    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Read the views, and put them in order; ``folder`` keeps unpacked files. Nothing is random."""
        hint = (
            "Fetch small NORB with `kedro run --pipelines=download_small_norb`, or put COIL-20's or COIL-100's "
            f"pictures there; or name another folder with --params={name}.raw_folder=..."
        )
        clips, sources = rotate(find_objects(Path(self.raw_folder), folder, hint), self)
        return Made(clips, sources)


@dataclass(frozen=True)
class TurningObject:
    """All views of one object.

    Attributes:
        views: for each (lighting, elevation), the views of a full turn by growing azimuth.
        degrees: angle from one view to the next.
        cameras: cameras that see each view.
        reason: why the object cannot be used; "" if it can.
    """

    name: str
    label: str
    views: dict[Configuration, list[View]]
    degrees: int
    cameras: int
    reason: str = ""


def find_objects(folder: Path, unpacked: Path, hint: str = "") -> list[TurningObject]:
    """All objects in a folder, in natural order. ``hint`` is for the message when there are none: where to get them.

    Raises:
        InputError: if there are none, or a matrix file is missing or broken.
    """
    parts = (open_norb(folder, part, unpacked) for part in find_norb(folder))
    objects = [found for part in parts for found in _norb_objects(part)] or _coil_objects(folder)
    if not objects:
        raise InputError(f"{folder} holds neither small NORB's files nor pictures obj1__0.png, .... {hint}".rstrip())
    return sorted(objects, key=lambda o: natural_order(o.name))


def _norb_objects(part: NorbPart) -> list[TurningObject]:
    objects = []
    for category, instance in np.unique(part.facts[:, :2], axis=0):
        rows = np.flatnonzero((part.facts[:, :2] == (category, instance)).all(axis=1))
        views: dict[Configuration, list[View]] = {}
        azimuths: dict[Configuration, list[int]] = {}
        for row in rows[np.argsort(part.facts[rows, 3], kind="stable")].tolist():
            _, _, elevation, azimuth, lighting = part.facts[row].tolist()
            views.setdefault((lighting, elevation), []).append((part, row))
            azimuths.setdefault((lighting, elevation), []).append(azimuth)
        label = CATEGORIES[category]
        bad = [c for c, found in azimuths.items() if found != list(range(AZIMUTHS))]
        reason = f"not {AZIMUTHS} views of a turn at (lighting, elevation) {bad[0]}" if bad else ""
        objects.append(TurningObject(f"{label}/{instance}", label, views, NORB_DEGREES, 2, reason))
    return objects


def _coil_objects(folder: Path) -> list[TurningObject]:
    """COIL-20 numbers its views 0, 1, ..., COIL-100 names their degrees 0, 5, ...."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in files_below(folder):
        if parts := COIL_NAME.fullmatch(path.name):
            found.setdefault(parts[1], []).append((int(parts[2]), path))
    objects = []
    for name, views in found.items():
        numbers, count = sorted(number for number, _ in views), len(views)
        whole = count > 1 and 360 % count == 0 and numbers in (list(range(count)), list(range(0, 360, 360 // count)))
        reason = "" if whole else f"its {count} views do not make one full turn in equal steps from 0"
        turn: list[View] = [path for _, path in sorted(views)]
        objects.append(TurningObject(name, name, {(0, 0): turn}, 360 // count, 1, reason or _damaged(turn)))
    return objects


def _damaged(turn: list[View]) -> str:
    """What is wrong with the pictures of an object; "" if nothing is."""
    sizes = set()
    for view in turn:
        try:
            sizes.add(_view(view, camera=0, channels=1).shape)
        except InputError as error:
            return str(error)
    (height, width, _), *others = sizes
    if others:
        return "its pictures differ in size"
    return "" if height == width else f"its pictures of {width}x{height} pixels are not square"


def _view(view: View, camera: int, channels: int) -> NDArray[np.uint8]:
    """One picture as it is: uint8 (h, w, C)."""
    if isinstance(view, Path):
        return read_image(view, channels)
    part, row = view
    return np.repeat(part.images[row, camera][..., None], channels, axis=2)


@dataclass(frozen=True)
class _Sequence:
    """One full turn in one direction: its views in the order in which they are shown."""

    object: TurningObject
    configuration: Configuration
    camera: int
    turn: int
    direction: str
    views: list[View]

    def frames(self, settings: RotationSettings) -> NDArray[np.uint8]:
        """(V, C, H, W), resized."""
        side, pictures = settings.frame_size, (_view(view, self.camera, settings.channels) for view in self.views)
        return np.stack([resized(picture, side, side).transpose(2, 0, 1) for picture in pictures])


def rotate(objects: list[TurningObject], settings: RotationSettings) -> tuple[dict[Split, ClipStream], pd.DataFrame]:
    """Clips of the chosen objects in rotation, and a row for each object: frames, clips, and why there are none, if so.

    Raises:
        InputError: if an object or configuration that the settings name does not exist, or objects cannot be used.
    """
    chosen = _choose(objects, settings)
    sequences = [sequence for o in chosen if not o.reason for sequence in _sequences(o, settings)]
    streams = {}
    for split in SPLITS:
        held_out = {tuple(settings.validation): "validation", tuple(settings.test): "test"}
        of_split = [s for s in sequences if held_out.get(s.configuration, "train") == split]
        rows = [
            (s.object.name, s.object.label, start, *s.configuration, s.camera, s.turn, s.direction)
            for s in of_split
            for start in range(0, len(s.views), settings.window_step)
        ]
        shape = (settings.frames, settings.channels, settings.frame_size, settings.frame_size)
        streams[split] = ClipStream(pd.DataFrame(rows, columns=CLIPS), shape, partial(_pieces, of_split, settings))
        if not rows:
            raise InputError(f"no (lighting, elevation) is left for the {split} clips.")
    clips = pd.concat([stream.table["source"] for stream in streams.values()]).value_counts()
    frames = {o.name: o.cameras * sum(len(views) for views in o.views.values()) for o in chosen}
    listed = [(o.name, o.label, frames[o.name], clips.get(o.name, 0), o.reason) for o in chosen]
    return streams, pd.DataFrame(listed, columns=SOURCES)


def _choose(objects: list[TurningObject], settings: RotationSettings) -> list[TurningObject]:
    chosen = objects if settings.object == "all" else [o for o in objects if o.name == settings.object]
    if settings.object == "first":
        chosen = [o for o in objects if not o.reason or settings.unusable == "fail"][:1] or objects
    if not chosen:
        raise InputError(
            f"there is no object {settings.object!r} in {settings.raw_folder}, only "
            f"{', '.join(o.name for o in objects)}; choose one with the parameter object."
        )
    unusable = [o for o in chosen if o.reason]
    if len(unusable) == len(chosen) or (unusable and settings.unusable == "fail"):
        listed = "\n".join(f"  - {o.name}: {o.reason}" for o in unusable)
        raise InputError(f"{len(unusable)} of {len(chosen)} objects in {settings.raw_folder} cannot be used:\n{listed}")
    return chosen


def _sequences(turning: TurningObject, settings: RotationSettings) -> list[_Sequence]:
    interleaved, rest = divmod(settings.degrees_per_frame, turning.degrees)
    if rest:
        raise InputError(
            f"the views of {turning.name} are {turning.degrees} degrees apart; degrees_per_frame must be a multiple of "
            f"that, but is {settings.degrees_per_frame}."
        )
    sequences = []
    alone = len(turning.views) == 1
    for configuration, views in turning.views.items():
        for turn in range(interleaved):
            named = (0, turn) if alone else configuration
            for camera in settings.cameras if turning.cameras > 1 else [0]:
                for direction in settings.directions:
                    shown = views[turn::interleaved][:: 1 if direction == "forward" else -1]
                    sequences.append(_Sequence(turning, named, camera, turn, direction, shown))
    known = {s.configuration for s in sequences}
    for split, configuration in (("validation", settings.validation), ("test", settings.test)):
        if tuple(configuration) not in known:
            raise InputError(
                f"{turning.name} has no (lighting, elevation) {list(configuration)} to hold out for {split}, only "
                f"{', '.join(str(list(c)) for c in sorted(known))}."
            )
    return sequences


def _pieces(sequences: list[_Sequence], settings: RotationSettings) -> Iterator[NDArray[np.uint8]]:
    """Frames of clips (n, T, C, H, W), one sequence at a time."""
    for sequence in sequences:
        frames = sequence.frames(settings)
        starts = np.arange(0, len(frames), settings.window_step)
        yield frames[(starts[:, None] + np.arange(settings.frames)) % len(frames)]
