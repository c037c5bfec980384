"""MATLAB files as NumPy files: ``python -m linear_video.clips.readers.matlab FILE FOLDER``.

This runs in a separate process, because SciPy's reader may crash on damaged files, and takes any memory they ask for.
"""

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from linear_video.common.files import telling_no_room

CANNOT_WRITE, TOO_MUCH = 74, 75
LONGEST_NAME = 63  # of a variable in MATLAB


def unpack_matlab(path: Path, folder: Path) -> None:
    """Write the numeric arrays of three dimensions or more as ``<variable>.npy``, and cells as ``<variable>/000.npy``.

    Raises:
        Exception: of many kinds for damaged files, and for those of MATLAB's version 7.3, which the message names.
        SystemExit: with ``CANNOT_WRITE`` if it cannot be written, and the reason on the standard output.
    """
    from scipy.io import loadmat

    for variable, values in loadmat(path).items():
        # Anything that is not a valid MATLAB name could be a path that leads out of the folder.
        named = variable.isidentifier() and len(variable) <= LONGEST_NAME and not variable.startswith("__")
        if not named or not isinstance(values, np.ndarray):
            continue
        in_cells = values.dtype == object
        for i, cell in enumerate(values.ravel() if in_cells else [values]):
            if isinstance(cell, np.ndarray) and cell.ndim >= 3 and cell.dtype.kind in "uif":
                target = folder / variable / f"{i:03d}.npy" if in_cells else folder / f"{variable}.npy"
                try:
                    target.parent.mkdir(exist_ok=True)
                    with telling_no_room(target, target):
                        np.save(target, cell, allow_pickle=False)
                except OSError as error:
                    print(error)
                    sys.exit(CANNOT_WRITE)


def bound_memory(most: int) -> None:
    """Let this process take at most ``most`` bytes more than it has now, where the system can (not on Windows)."""
    with suppress(ImportError):
        import resource

        with suppress(OSError, ValueError):  # there may be a lower bound already
            used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()  # data and stack
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (used + most, hard))


if __name__ == "__main__":
    import_module("scipy.io.matlab")  # imported before there is a bound, since it needs memory itself
    source = Path(sys.argv[1])
    # The content of a large uncompressed file may be read. It is in memory twice, as bytes and as an array.
    bound_memory(int(sys.argv[3]) + 2 * source.stat().st_size)
    try:
        unpack_matlab(source, Path(sys.argv[2]))
    except MemoryError:
        sys.exit(TOO_MUCH)
