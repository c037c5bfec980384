"""Find and open the user's footage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linear_video.clips.readers.recordings import KNOWN_SUFFIXES, Frame, Recording, Source, find_sources, read_source
from linear_video.common.errors import InputError
from linear_video.common.files import check_path

FPS = 25.0  # of footage that does not say


def find_footage(path: Path) -> list[Source]:
    """The sources at a path: a video or an array, a folder of images, or a folder of several of these.

    Raises:
        InputError: if nothing there can be read.
    """
    check_path(path)
    if path.is_file():
        if path.suffix.lower() not in KNOWN_SUFFIXES:
            endings = ", ".join(KNOWN_SUFFIXES)
            raise InputError(f"{path} cannot be read as footage: its name must end in one of {endings}.")
        return [Source(path.name, "", (path,))]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; name a video, a folder of images, or a folder of videos.")
    sources = find_sources(path)
    if not sources:
        raise InputError(f"{path} holds no videos, images or arrays ({', '.join(KNOWN_SUFFIXES)}).")
    for source in sources:
        if source.reason:
            raise InputError(f"{path / source.name}: {source.reason}; repair or remove it.")
    return sources


def open_footage(source: Source) -> Iterator[Recording]:
    """Recordings of a source as they are. Errors name the source. Read each recording before the next.

    Raises:
        InputError: if the source is broken. It may be raised only while the frames are read.
    """
    recordings = read_source(source, None)
    while True:
        with named(source.name):
            recording = next(recordings, None)
        if recording is None:
            return
        yield Recording(recording.name, recording.fps, _frames(recording))


def _frames(recording: Recording) -> Iterator[Frame]:
    with named(recording.name):
        yield from recording.frames


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put the name of the footage in front of its errors, once."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise InputError(f"{name}: {str(error).removesuffix('.')}.") from error
