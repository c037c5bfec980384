"""Make the pictures of the tutorials from the results of their commands in ``data/``.

    python docs/tutorials/pictures.py                 # of all pages
    python docs/tutorials/pictures.py first_paper     # of one

Follow the pages first. Pictures are at most as wide as a page, and small enough to load at once.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageSequence

DATA = Path("data")
REPORTS = DATA / "08_reporting"
WIDEST, WIDEST_ANIMATION = 1000, 420  # pixels
COLOURS = (128, 64, 32)  # the first that make a picture small enough
LARGEST = 300_000  # bytes
# For each page, where its pictures come from.
PAGES = {
    "own_video": {
        "film.png": "film.png",
        "filled_in.png": "filled_in.png",
        "surprise.png": "predict/surprise/knocked.avi/*/picture.png",
    },
    "first_paper": {
        "prediction.gif": "ile/moving_symbols/prediction.gif",
        "eigenvalues.png": "eigenvalues.png",
        "variants.png": "variants.png",
    },
    "second_paper": {
        "counting.png": "dynamic_vae/digit_cycles/filmstrip.png",
        "late_frames.png": "late_frames.png",
        "sea.png": "dynamic_vae/ucla_textures/filmstrip.png",
    },
}


def main() -> None:
    """Write the pictures of the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", default=list(PAGES), help="of which pages; all by default")
    parser.add_argument("--into", type=Path, default=Path("docs/images/tutorials"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    for page in arguments.pages:
        for name, place in PAGES[page].items():
            found = sorted(REPORTS.glob(place))
            if not found:
                raise SystemExit(f"{REPORTS / place} is not there: follow docs/tutorials/{page}.md first.")
            (animated if name.endswith(".gif") else still)(found[-1], arguments.into / name)
            print(arguments.into / name)


def smaller(picture: Image.Image, widest: int, colours: int) -> Image.Image:
    """A picture at most ``widest`` pixels wide, in a few colours."""
    picture = picture.convert("RGB")
    if picture.width > widest:
        picture = picture.resize((widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS)
    return picture.quantize(colours, dither=Image.Dither.NONE)


def still(source: Path, target: Path) -> None:
    """Write a picture."""
    with Image.open(source) as picture:
        for colours in COLOURS:
            smaller(picture, WIDEST, colours).save(target, optimize=True)
            if target.stat().st_size < LARGEST:
                return


def animated(source: Path, target: Path) -> None:
    """Write an animation that repeats for ever."""
    with Image.open(source) as picture:
        duration = picture.info["duration"]
        first, *others = [smaller(frame, WIDEST_ANIMATION, COLOURS[0]) for frame in ImageSequence.Iterator(picture)]
    first.save(target, save_all=True, append_images=others, duration=duration, loop=0)


if __name__ == "__main__":
    main()
