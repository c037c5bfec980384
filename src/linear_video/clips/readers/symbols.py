"""Images of symbols, and their split: digits bundled with scikit-learn, MNIST files, or a folder of pictures."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linear_video.clips.base import Split
from linear_video.clips.readers.idx import read_idx
from linear_video.common.errors import InputError
from linear_video.common.files import check_path, files_below
from linear_video.common.images import read_picture, resized

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Symbol:
    """One symbol, cropped tightly or as a whole image.

    Attributes:
        planes: float32 (h, w, 1), the opacity of a white symbol; or (h, w, 4), red, green and blue (each already
            multiplied by the opacity), then opacity. All in [0, 1].
        label: class of the symbol.
        source: name of the image, unique within its source.
    """

    planes: NDArray[np.float32]
    label: str
    source: str


def load_symbols(source: str, folder: Path, size: int, split: Split, cropped: bool = True) -> list[Symbol]:
    """Symbols of one split, cropped tightly or as whole images, their longer side resized to ``size`` pixels.

    Raises:
        InputError: as ``load_images`` does, and if size is not positive or every image is empty.
    """
    if size < 1:
        raise InputError(f"symbol size must be at least 1 pixel, not {size}.")
    symbols = []
    for image, label, name in zip(*load_images(source, folder, split), strict=True):
        planes = crop_and_resize(image, size, cropped)
        if planes is not None:
            symbols.append(Symbol(planes, label, name))
    if not symbols:
        raise InputError(f"no symbols for the {split} split in {source}: all images are empty.")
    return symbols


def load_images(source: str, folder: Path, split: Split) -> tuple[list[NDArray[np.float32]], list[str], list[str]]:
    """Images of one split (as ``Symbol.planes``, not cropped), their labels and names. Splits never share an image.

    ``source`` is ``"digits"`` (scikit-learn's 1,797 handwritten digits), ``"mnist"`` (idx files in ``folder``: the
    training file gives train and validation, the test file test) or ``"folder"`` (pictures in ``folder``; in
    sub-folders named by label, or all of one label).

    Raises:
        InputError: if the source is unknown, a file is missing, or nothing is found.
    """
    if source == "digits":
        images, labels, names = _bundled_digits()
        chosen = split_images(images, split)
    elif source == "mnist":
        images, labels, names = _mnist(folder, "t10k" if split == "test" else "train")
        chosen = split_images(images, split, 0)
        if split == "test":  # all, except images that are also in the training file
            known = {image.tobytes() for image in _mnist(folder, "train")[0]}
            chosen = [i for i, image in enumerate(images) if image.tobytes() not in known]
    elif source == "folder":
        images, labels, names = _picture_folder(folder)
        chosen = split_images(images, split)
    else:
        raise InputError(f"symbol source must be digits, mnist or folder, not {source!r}.")
    if not chosen:
        raise InputError(f"no symbols for the {split} split in {source} (found {len(images)} images in all).")
    return [images[i] for i in chosen], [labels[i] for i in chosen], [names[i] for i in chosen]


def split_images(images: list[NDArray[np.float32]], split: Split, test_share: float = 0.1) -> list[int]:
    """Indices of the images of a split: a tenth for validation, ``test_share`` for test, the rest for training.

    Equal images count once, so that no copy of an image can be in another split. The split depends only on the images,
    never on a seed, so results of different seeds are comparable.
    """
    unique = list({image.tobytes(): i for i, image in reversed(list(enumerate(images)))}.values())
    order = np.random.default_rng(0).permutation(sorted(unique))
    tests, validations = round(test_share * len(order)), round(0.1 * len(order))
    test, validation, train = np.split(order, [tests, tests + validations])
    return [int(i) for i in {"test": test, "validation": validation, "train": train}[split]]


def _bundled_digits() -> tuple[list[NDArray[np.float32]], list[str], list[str]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = [image[..., None] for image in (digits.images / 16).astype(np.float32)]
    return images, [str(label) for label in digits.target], [f"digits/{i}" for i in range(len(images))]


def _mnist(folder: Path, part: str) -> tuple[list[NDArray[np.float32]], list[str], list[str]]:
    pixels = read_idx(_idx_file(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_idx_file(folder, f"{part}-labels-idx1-ubyte"))
    if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
        shapes = f"images {pixels.shape} and labels {labels.shape}"
        raise InputError(f"{folder}: the {part} {shapes} do not belong together.")
    images = [image[..., None] / np.float32(255) for image in pixels]
    return images, [str(label) for label in labels], [f"mnist/{part}/{i}" for i in range(len(images))]


def _idx_file(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{folder / name}(.gz) is missing. Put MNIST's four idx files there, or fetch them with "
        "`kedro run --pipelines=download_mnist`."
    )


def _picture_folder(folder: Path) -> tuple[list[NDArray[np.float32]], list[str], list[str]]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder of the symbols' pictures.")
    images, labels, names = [], [], []
    for path in [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]:
        check_path(path)
        picture = read_picture(path, cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise InputError(f"{path} cannot be read as a picture; repair or remove it.")
        images.append(_to_planes(picture))
        labels.append(path.parent.name if path.parent != folder else "symbol")
        names.append(str(path.relative_to(folder)))
    if not images:
        raise InputError(f"{folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
    return images, labels, names


def _to_planes(picture: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Grey pictures are the opacity of a white symbol; colour pictures without opacity are opaque where not black."""
    values = np.divide(picture, np.iinfo(picture.dtype).max, dtype=np.float32)
    if values.ndim == 2:
        return values[..., None]
    colour = values[..., 2::-1]  # OpenCV's blue, green, red -> red, green, blue
    alpha = values[..., 3:] if values.shape[2] == 4 else (colour.max(axis=2, keepdims=True) > 0).astype(np.float32)
    return np.asarray(np.concatenate((colour * alpha, alpha), axis=2), np.float32)


def crop_and_resize(planes: NDArray[np.float32], size: int, cropped: bool = True) -> NDArray[np.float32] | None:
    """Cut away empty borders (if ``cropped``) and resize the longer side to ``size``; None for an empty image."""
    rows, columns = np.nonzero(planes[..., -1])
    if not len(rows):
        return None
    tight = planes[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if cropped else planes
    factor = size / max(tight.shape[:2])
    height, width = (max(1, round(factor * side)) for side in tight.shape[:2])
    return np.ascontiguousarray(resized(tight, height, width))


def in_channels(planes: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Planes to draw: (h, w, 1) for white in grey, else (h, w, channels + 1) with the opacity last."""
    if planes.shape[2] == 1:
        return planes if channels == 1 else np.repeat(planes, channels + 1, axis=2)
    if channels == 3:
        return planes
    grey = planes[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma
    return np.stack((grey, planes[..., 3]), axis=2)
