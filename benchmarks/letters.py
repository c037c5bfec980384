"""Draw a folder of letters for counting: capitals in many typefaces, turned, slanted and stretched at random.

    python benchmarks/letters.py data/01_raw/letters

The folder is laid out as EMNIST is when it is unpacked by class: a folder for each letter, with white letters on black,
28x28 pixels. The typefaces are those that Matplotlib brings along. Printed letters are easier to read than handwriting.
"""

import argparse
import string
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE, FINER = 28, 4  # pixels, and how much larger a letter is drawn before it is reduced
HEIGHT = 25  # pixels, of a line of text
FONTS = ("DejaVuSans*", "DejaVuSerif*", "STIXGeneral*", "cmb10*", "cmr10*", "cmss10*", "cmti10*", "cmtt10*")


def draw(letter: str, font: ImageFont.FreeTypeFont, random: np.random.Generator) -> Image.Image:
    """A letter in the middle, of a random size and stroke, turned by up to 12 degrees and slanted by up to as much."""
    side = SIDE * FINER
    whole = Image.new("L", (side, side))
    middle, stroke = (side / 2, side / 2), int(random.integers(0, 4))
    ImageDraw.Draw(whole).text(middle, letter, fill=255, font=font, anchor="mm", stroke_width=stroke, stroke_fill=255)
    turn, slant = np.deg2rad(random.uniform(-12, 12, 2))
    across, down = random.uniform(0.85, 1.15, 2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ [[1, np.tan(slant)], [0, 1]] @ np.diag([across, down])
    offset = np.array(middle) - matrix @ (np.array(middle) + random.uniform(-1.5 * FINER, 1.5 * FINER, 2))
    rows = tuple(np.column_stack((matrix, offset)).ravel())
    moved = whole.transform(whole.size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
    return moved.resize((SIDE, SIDE), Image.Resampling.BOX)


def write(folder: Path, images: int, seed: int) -> None:
    """Draw ``images`` pictures of each letter into sub-folders of a folder."""
    random = np.random.default_rng(seed)
    place = Path(mpl.get_data_path(), "fonts/ttf")
    files = sorted(file for pattern in FONTS for file in place.glob(pattern))
    fonts = [
        ImageFont.truetype(file, HEIGHT * FINER) for file in files if "Display" not in file.name
    ]  # these lack some
    for letter in string.ascii_uppercase:
        (folder / letter).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            picture = draw(letter, fonts[random.integers(len(fonts))], random)
            picture.save(folder / letter / f"{number:04}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=500, help="pictures of each letter")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.folder, arguments.images, arguments.seed)
