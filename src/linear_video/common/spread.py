"""Some of many, when all would be too many."""

import numpy as np
from numpy.typing import NDArray


def spread(wanted: int, there: int) -> NDArray[np.int64]:
    """Numbers of clips or frames from the first to the last, evenly spread; all if there are fewer than wanted."""
    return np.linspace(0, there - 1, min(wanted, there)).round().astype(np.int64)
