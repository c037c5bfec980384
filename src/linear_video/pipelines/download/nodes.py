"""Fetch files and check them."""

from pathlib import Path

import pooch

from linear_video.common.errors import InputError
from linear_video.parameters import DownloadSettings


def download(settings: DownloadSettings, name: str) -> list[str]:
    """Fetch the files that are missing or damaged, each checked by its checksum; returns their names.

    Raises:
        InputError: if the server cannot be reached, or sends something else.
    """
    folder, url = Path(settings.folder), settings.url
    fetcher = pooch.create(folder, base_url=url, registry=settings.checksums, retry_if_failed=2)
    for file in settings.checksums:
        try:
            fetcher.fetch(file, progressbar=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{url}{file} cannot be fetched ({error}). Put the file into {folder} by hand, or name another server "
                f"with --params={name}.url=..."
            ) from error
    return list(settings.checksums)
