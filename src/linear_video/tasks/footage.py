"""Find and open footage of one's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linear_video.clips.readers.recordings import KNOWN_SUFFIXES, Frame, Recording, Source, find_sources, read_source
from linear_video.common.errors import InputError
from linear_video.common.files import check_path

FPS = 25.0  # of what does not say


def find_footage(path: Path) -> list[Source]:
    """What lies there: a video or an array; a folder of images; or a folder of such.

    Raises:
        InputError: if there is nothing that can be read.
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
            raise InputError(f"{path / source.name}: {source.reason}; mend or remove it.")
    return sources


def open_footage(source: Source) -> Iterator[Recording]:
    """Recordings of a source as they are, with its name in what goes wrong; each is to be read before the next.

    Raises:
        InputError: if it is broken; while its frames are read, too.
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
    """The footage's name in front of what is wrong with it, once."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise InputError(f"{name}: {str(error).removesuffix('.')}.") from error
