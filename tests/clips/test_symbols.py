import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from linear_video.clips.base import SPLITS, Split
from linear_video.clips.readers.symbols import Symbol, load_symbols
from linear_video.common.errors import InputError

WriteIdx = Callable[[Path, np.ndarray], None]


def hashes(symbols: list[Symbol]) -> set[str]:
    return {hashlib.sha256(symbol.planes.tobytes() + bytes(symbol.planes.shape)).hexdigest() for symbol in symbols}


def check_splits(source: str, folder: Path, size: int) -> dict[Split, list[Symbol]]:
    """Load all splits, and check that no symbol is in two of them, by its content or its source."""
    parts = {split: load_symbols(source, folder, size, split) for split in SPLITS}
    for identities in (hashes, lambda symbols: {symbol.source for symbol in symbols}):
        train, validation, test = (identities(parts[split]) for split in SPLITS)
        assert not train & validation
        assert not train & test
        assert not validation & test
    return parts


def noise(count: int, seed: int) -> np.ndarray:
    """Different pictures (count, 9, 7) without empty borders."""
    return np.random.default_rng(seed).integers(1, 256, (count, 9, 7))


# --- digits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 14])
def test_splits_of_the_digits_share_no_image(size: int) -> None:
    parts = check_splits("digits", Path(), size)
    assert [len(parts[split]) for split in SPLITS] == [1437, 180, 180]
    for symbols in parts.values():
        assert {symbol.label for symbol in symbols} == set("0123456789")


def test_digits_are_scikit_learns_with_their_labels() -> None:
    digits, compared = load_digits(), 0
    for symbol in load_symbols("digits", Path(), 8, "test"):
        index = int(symbol.source.removeprefix("digits/"))
        assert symbol.label == str(digits.target[index])
        image = digits.images[index] / 16
        ink = image[np.ix_(image.any(axis=1), image.any(axis=0))]
        if max(ink.shape) == 8:  # nothing to resize, and no empty row or column within a digit
            np.testing.assert_array_equal(symbol.planes[..., 0], ink)
            compared += 1
    assert compared > 100


def test_the_split_does_not_depend_on_a_seed() -> None:
    sources = []
    for seed in range(2):
        np.random.seed(seed)  # noqa: NPY002
        sources.append([symbol.source for symbol in load_symbols("digits", Path(), 8, "validation")])
    assert sources[0] == sources[1]


# --- MNIST ----------------------------------------------------------------------------------------------------------


def write_mnist(folder: Path, write_idx: WriteIdx, suffix: str = "") -> None:
    """Write 300 training images, of which 100 are different, and 60 test images, of which 20 are in training, too."""
    pictures = noise(140, seed=0)
    train, test = np.concatenate([pictures[:100]] * 3), pictures[80:]
    for part, images in (("train", train), ("t10k", test)):
        frames = np.zeros((len(images), 28, 28), np.int64)
        frames[:, 10:19, 12:19] = images
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", frames)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", images[:, 0, 0] % 10)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_splits_of_mnist_share_no_image_though_its_files_do(tmp_path: Path, write_idx: WriteIdx, suffix: str) -> None:
    write_mnist(tmp_path, write_idx, suffix)
    parts = check_splits("mnist", tmp_path, 9)
    assert [len(parts[split]) for split in SPLITS] == [90, 10, 40]
    pictures = {(picture / np.float32(255)).astype(np.float32).tobytes(): picture for picture in noise(140, seed=0)}
    for symbols in parts.values():
        for symbol in symbols:
            assert symbol.label == str(pictures[symbol.planes.tobytes()][0, 0] % 10)


@pytest.mark.parametrize("missing", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_missing_mnist_file_is_named_with_the_way_to_get_it(tmp_path: Path, write_idx: WriteIdx, missing: str) -> None:
    write_mnist(tmp_path, write_idx)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}.*is missing.*download_mnist"):
        load_symbols("mnist", tmp_path, 9, "test")


@pytest.mark.parametrize("labels", [np.zeros(299, int), np.zeros((300, 1), int)])
def test_mnist_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, write_idx: WriteIdx, labels: np.ndarray
) -> None:
    write_mnist(tmp_path, write_idx)
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    with pytest.raises(InputError, match="do not belong together"):
        load_symbols("mnist", tmp_path, 9, "train")


def test_mnist_without_ink_is_refused(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((20, 28, 28), int))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(20, int))
    with pytest.raises(InputError, match="no symbols for the train split"):
        load_symbols("mnist", tmp_path, 9, "train")


def test_splits_of_the_real_mnist_share_no_image(repository: Path) -> None:
    folder = repository.parent / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"MNIST's files are not at {folder}")
    parts = check_splits("mnist", folder, 20)
    assert [len(parts[split]) for split in SPLITS] == [54_000, 6_000, 10_000]
    for symbols in parts.values():
        assert {symbol.label for symbol in symbols} == set("0123456789")
        assert all(max(symbol.planes.shape[:2]) == 20 for symbol in symbols)


# --- folders of pictures --------------------------------------------------------------------------------------------


def test_splits_of_a_folder_share_no_picture_though_it_holds_copies(tmp_path: Path) -> None:
    for number, picture in enumerate(noise(50, seed=1).astype(np.uint8)):
        for copy, suffix in enumerate(("png", "bmp", "png")):
            folder = tmp_path / f"copy {copy}"
            folder.mkdir(exist_ok=True)
            Image.fromarray(picture).save(folder / f"{number:02}.{suffix}")
    parts = check_splits("folder", tmp_path, 9)
    assert [len(parts[split]) for split in SPLITS] == [40, 5, 5]


def one_symbol(folder: Path, image: Image.Image, size: int) -> Symbol:
    """The symbol from a single picture, which goes to the training split."""
    image.save(folder / "only.png")
    (symbol,) = load_symbols("folder", folder, size, "train")
    return symbol


def test_labels_are_the_names_of_subfolders(tmp_path: Path) -> None:
    for number, place in enumerate(("cat/a.png", "dog/a.PNG", "b.png")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(noise(3, seed=2)[number].astype(np.uint8)).save(tmp_path / place)
    labels = {symbol.source: symbol.label for symbol in load_symbols("folder", tmp_path, 9, "train")}
    assert labels == {"cat/a.png": "cat", "dog/a.PNG": "dog", "b.png": "symbol"}


def test_empty_borders_are_cut_away(tmp_path: Path) -> None:
    ink = noise(1, seed=3)[0].astype(np.uint8)
    ink[3:5] = 0  # emptiness within stays
    frame = np.pad(ink, ((2, 5), (11, 3)))
    symbol = one_symbol(tmp_path, Image.fromarray(frame), 9)
    np.testing.assert_allclose(symbol.planes, ink[..., None] / 255, rtol=1e-6)


@pytest.mark.parametrize(("size", "shape"), [(5, (5, 2)), (10, (10, 5)), (20, (20, 10)), (30, (30, 15)), (1, (1, 1))])
def test_longer_side_gets_the_size_and_the_other_follows(tmp_path: Path, size: int, shape: tuple[int, int]) -> None:
    symbol = one_symbol(tmp_path, Image.new("L", (10, 20), 255), size)
    assert symbol.planes.shape == (*shape, 1)
    np.testing.assert_allclose(symbol.planes, 1, rtol=1e-6)


def test_shrinking_takes_means(tmp_path: Path) -> None:
    picture = np.random.default_rng(4).integers(1, 256, (20, 20)).astype(np.uint8)
    symbol = one_symbol(tmp_path, Image.fromarray(picture), 10)
    means = picture.reshape(10, 2, 10, 2).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(symbol.planes[..., 0], means, rtol=1e-5)


def test_colours_are_red_green_blue_multiplied_by_opacity(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (6, 6, 4)).astype(np.uint8)
    pixels[..., 3] = np.maximum(pixels[..., 3], 1)
    symbol = one_symbol(tmp_path, Image.fromarray(pixels, "RGBA"), 6)
    alpha = pixels[..., 3:] / 255
    np.testing.assert_allclose(symbol.planes, np.concatenate((pixels[..., :3] / 255 * alpha, alpha), 2), rtol=1e-5)


def test_transparent_borders_are_cut_away_whatever_their_colour(tmp_path: Path) -> None:
    image = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    image.paste((0, 128, 255, 255), (5, 7, 10, 15))
    symbol = one_symbol(tmp_path, image, 8)
    assert symbol.planes.shape == (8, 5, 4)
    np.testing.assert_allclose(symbol.planes, np.broadcast_to([0, 128 / 255, 1, 1], (8, 5, 4)), rtol=1e-6)


def test_colours_without_opacity_are_opaque_where_not_black(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 20))
    image.paste((255, 0, 0), (5, 7, 10, 15))
    symbol = one_symbol(tmp_path, image, 8)
    np.testing.assert_allclose(symbol.planes, np.broadcast_to([1, 0, 0, 1], (8, 5, 4)))


def test_sixteen_bits_are_read_in_full(tmp_path: Path) -> None:
    values = np.array([[1000, 65535], [32768, 7]], np.uint16)
    symbol = one_symbol(tmp_path, Image.fromarray(values), 2)
    np.testing.assert_allclose(symbol.planes[..., 0], values / 65535, rtol=1e-6)


@pytest.mark.parametrize(
    ("mode", "planes"), [("1", 1), ("L", 1), ("LA", 4), ("P", 4), ("RGB", 4), ("RGBA", 4), ("I;16", 1)]
)
def test_every_kind_of_png_is_read(tmp_path: Path, mode: str, planes: int) -> None:
    symbol = one_symbol(tmp_path, Image.new("L", (6, 4), 255).convert(mode), 6)
    assert symbol.planes.shape == (4, 6, planes)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        load_symbols("folder", tmp_path / "nowhere", 9, "train")


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="holds no picture"):
        load_symbols("folder", tmp_path, 9, "train")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png cannot be read"):
        load_symbols("folder", tmp_path, 9, "train")


def test_folder_too_small_for_a_split_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "only.png")
    with pytest.raises(InputError, match=r"no symbols for the test split in folder \(found 1 image"):
        load_symbols("folder", tmp_path, 9, "test")


# --- arguments ------------------------------------------------------------------------------------------------------


def test_unknown_source_is_refused() -> None:
    with pytest.raises(InputError, match="digits, mnist or folder, not 'letters'"):
        load_symbols("letters", Path(), 9, "train")


def test_size_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        load_symbols("digits", Path(), 0, "train")
