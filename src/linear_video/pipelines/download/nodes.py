"""Fetch files and check them."""

from pathlib import Path
from typing import Any

import pooch

from linear_video.errors import InputError


def download(parameters: dict[str, Any], dataset: str) -> list[str]:
    """Fetch the files that are missing or damaged, each checked by its checksum; returns their names.

    Raises:
        InputError: if the server cannot be reached, or sends something else.
    """
    folder, url = Path(parameters["folder"]), parameters["url"]
    fetcher = pooch.create(folder, base_url=url, registry=parameters["checksums"], retry_if_failed=2)
    for name in parameters["checksums"]:
        try:
            fetcher.fetch(name, progressbar=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{url}{name} cannot be fetched ({error}). Put the file into {folder} by hand, or name another server "
                f"with --params=download_{dataset}.url=..."
            ) from error
    return list(parameters["checksums"])
