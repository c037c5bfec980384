"""Recordings as a dataset: videos, folders of images or arrays, read once and cut into clips."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from linear_video.clips.base import DatasetSettings, Judge, Made, Shard
from linear_video.clips.extraction import extract, read_shard
from linear_video.clips.windows import cut
from linear_video.common.checks import check_choice, check_least, check_within


@dataclass(frozen=True)
class FootageSettings(DatasetSettings):
    """How recordings become clips.

    Attributes:
        room_decides: whether a video whose frames are too small for the crops gets fewer or smaller ones.
        raw_folder: folder with a sub-folder for each class, which holds videos, folders of images, or arrays.
        include: names to read, with ``*`` and ``?`` (``Golf-Swing-Side/001``); empty for all.
        unusable: ``"skip"`` leaves out recordings that cannot be used, ``"fail"`` stops the run; both list them.
        frame_size: (height, width) of the frames that are kept.
        fit: ``"crop"`` cuts what is too wide or too high, ``"letterbox"`` adds black bars.
        crop_size: height in the recording's pixels of the parts that are cut out of its frames; None for the largest.
        crops: number of parts that are cut out of a recording, spread over its frame; each gives its own clips.
        channels: 1 (grey) or 3 (red, green, blue).
        frames: number of frames in a clip.
        frame_step: frames of the recording from one frame of a clip to the next; 2 takes every second frame.
        window_step: frames of the recording from the start of one clip to the start of the next. Clips overlap if
            this is less than their length.
        least_motion: clips that move less are left out. Motion is the mean absolute difference of successive frames,
            with values in [0, 1].
        cut_threshold: clips that contain a cut are left out. A cut is a difference between successive frames of at
            least this value, and at least three times the differences before and after it. None keeps these clips.
        split_by: ``"video"`` puts whole recordings into train, validation or test; ``"time"`` puts the last frames of
            each recording into test, and those before them into validation; ``"folder"`` puts the recordings below a
            folder called ``Test`` (or ``test``) into test, and some of the others into validation.
        validation_share: share of the recordings used for validation; with ``"time"``, share of each recording's
            frames; with ``"folder"``, share of the recordings that are not in the test.
        test_share: the same for the test; unused with ``"folder"``.
        workers: recordings read side by side; None for as many as there are processors. Where Dask reads, its workers
            decide.
    """

    lists_sources: ClassVar[bool] = True
    in_shards: ClassVar[bool] = True
    room_decides: ClassVar[bool] = False
    where_to_get: ClassVar[str] = (
        "Put videos or folders of images into it, in a folder for each class (UCF Sports Action is at "
        "https://www.crcv.ucf.edu/data/UCF_Sports_Action.php; unpack it there)"
    )

    raw_folder: str
    include: list[str] = field(default_factory=list)
    unusable: Literal["skip", "fail"] = "skip"
    frame_size: tuple[int, int] = (32, 32)
    fit: Literal["crop", "letterbox"] = "crop"
    crop_size: int | None = None
    crops: int = 1
    channels: int = 1
    frames: int = 15
    frame_step: int = 1
    window_step: int = 3
    least_motion: float = 0.002
    cut_threshold: float | None = 0.1
    split_by: Literal["video", "time", "folder"] = "video"
    validation_share: float = 0.15
    test_share: float = 0.15
    workers: int | None = None

    def __post_init__(self) -> None:
        check_least(self, 1, "crops", "frame_step", "window_step", "crop_size", "workers")
        check_least(self, 2, "frames")
        check_choice(self, (1, 3), "channels")
        check_within(self, "[0, 1]", "least_motion")
        check_within(self, "(0, 1]", "cut_threshold")
        if min(self.frame_size) < 1:
            raise ValueError(f"frame_size must be [height, width], both at least 1, not {list(self.frame_size)}.")
        if self.crops > 1 and self.crop_size is None:
            raise ValueError(f"crops is {self.crops}; more than 1 need a crop_size, the height of each part.")
        shares = self.validation_share, self.test_share
        if min(shares) <= 0 or sum(shares) >= 1:
            raise ValueError(f"validation_share and test_share must be above 0, and together below 1, not {shares}.")

    @property
    def span(self) -> int:
        """Frames of the recording from a clip's first to its last, both included."""
        return (self.frames - 1) * self.frame_step + 1

    def make(self, name: str, seed: int, folder: Path) -> Made:
        """Read every recording once into ``folder``, and cut the clips; nothing is random."""
        clips, sources = cut(extract(self, folder, self._hint(name)), folder, self)
        return Made(clips, sources)

    def read_shard(self, name: str, folder: Path, shard: Shard) -> str:
        """Read one part of the recordings into ``folder``, which ``make`` will find there; say in a line what was read.

        Raises:
            InputError: if there are no recordings, or some cannot be used and ``unusable`` is ``"fail"``.
        """
        return read_shard(self, folder, shard, self._hint(name))

    def _hint(self, name: str) -> str:
        return f"{self.where_to_get}; or name another folder with --params={name}.raw_folder=..."


@dataclass(frozen=True)
class TextureSettings(FootageSettings):
    """Footage whose motion goes on and on, such as water or fire: longer clips, from which models synthesise more."""

    judge: ClassVar[Judge] = "texture"
    where_to_get: ClassVar[str] = (
        "Put UCLA-50 or DynTex (http://dyntex.univ-lr.fr) there, as videos, folders of images, .npy or .mat files, in "
        "a folder for each class"
    )

    frame_size: tuple[int, int] = (48, 48)
    frames: int = 75
    window_step: int = 25
    least_motion: float = 0.0
    cut_threshold: float | None = None


@dataclass(frozen=True)
class VideoSettings(FootageSettings):
    """One video of your own: parts of its frames, at full resolution. Its end is for validation and test."""

    where_to_get: ClassVar[str] = "Name a video, or a folder of images or videos"
    room_decides: ClassVar[bool] = True

    raw_folder: str = ""
    channels: int = 3
    frame_size: tuple[int, int] = (96, 96)
    crop_size: int | None = 96
    crops: int = 4
    frames: int = 10
    window_step: int = 5
    least_motion: float = 0.0
    split_by: Literal["video", "time", "folder"] = "time"
