"""Fetch MNIST's four files."""

from pathlib import Path
from typing import Any

import pooch

from linear_video.errors import InputError


def download(parameters: dict[str, Any], folder: Path) -> list[str]:
    """Fetch the files that are missing or damaged, each checked by its checksum; returns their names.

    Raises:
        InputError: if the server cannot be reached, or sends something else.
    """
    fetcher = pooch.create(folder, base_url=parameters["url"], registry=parameters["checksums"], retry_if_failed=2)
    for name in parameters["checksums"]:
        try:
            fetcher.fetch(name, progressbar=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{parameters['url']}{name} cannot be fetched ({error}). Put the file into {folder} by hand, or name "
                "another server with --params=download_mnist.url=..."
            ) from error
    return list(parameters["checksums"])
