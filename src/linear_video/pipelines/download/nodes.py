"""Fetch files and check them."""

import shutil
from pathlib import Path

import pooch
from filelock import FileLock

from linear_video.common.errors import InputError, NoRoomError
from linear_video.common.files import replacing_file
from linear_video.parameters import DownloadSettings


def download(settings: DownloadSettings, name: str) -> list[str]:
    """Fetch the files that are missing or damaged, each checked by its checksum; returns their names.

    A second download into the same folder waits for the first, and then finds what that has fetched.

    Raises:
        InputError: if the server cannot be reached, or sends something else.
    """
    folder = Path(settings.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.resolve().name}.lock")):  # beside: a new file within is a new dataset
            return _fetched(settings, folder, name)
    except NoRoomError:
        raise
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error}); name another folder with --params.") from error


def _fetched(settings: DownloadSettings, folder: Path, name: str) -> list[str]:
    url = settings.url
    unfinished = folder / ".download.part"  # where the remains of a killed run are found
    fetcher = pooch.create(unfinished, base_url=url, registry=settings.checksums, retry_if_failed=2)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for file, checksum in settings.checksums.items():
            if (folder / file).is_file() and pooch.hashes.hash_matches(str(folder / file), checksum):
                continue
            with replacing_file(folder / file) as part:
                Path(fetcher.fetch(file, progressbar=True)).replace(part)
    except NoRoomError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"{url}{file} cannot be fetched ({error}). Put the file into {folder} by hand, or name another server "
            f"with --params={name}.url=..."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return list(settings.checksums)
