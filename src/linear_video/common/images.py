"""Pictures of another size."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", np.uint8, np.float32)


def resized(picture: NDArray[T], height: int, width: int) -> NDArray[T]:
    """A picture (h, w, C) as one of (height, width, C), without aliasing."""
    if picture.shape[:2] == (height, width):
        return picture
    # Area averaging is OpenCV's one kind without aliasing; it is meant for shrinking alone.
    kind = cv2.INTER_AREA if height <= picture.shape[0] and width <= picture.shape[1] else cv2.INTER_LINEAR
    other = cv2.resize(picture, (width, height), interpolation=kind)
    return np.asarray(other, picture.dtype).reshape(height, width, -1)
