"""Scores of the tasks on real videos, beside references that need no model.

    python benchmarks/footage_tasks.py <folder of videos> --model data/06_models/ile/<dataset>
    python benchmarks/footage_tasks.py <folder> --model <folder> --tasks denoise --lines 240 --frames 80

Known frames are hidden and guessed from the others, exactly as the tasks do it for a user. Rows are means over a
video's frames. The last rows are means and medians over the videos, and the gain of the blend over the best reference
of each video.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from tqdm import tqdm

import linear_video
from linear_video.common.markup import markdown_table
from linear_video.tasks import references
from linear_video.tasks.ahead import Ahead
from linear_video.tasks.backtest import psnr
from linear_video.tasks.between import filled, retimed
from linear_video.tasks.denoising import denoised
from linear_video.tasks.footage import find_footage, open_footage
from linear_video.tasks.parts import to_frame, to_values
from linear_video.tasks.trained import TrainedModel

Frame = NDArray[np.uint8]
Scored = tuple[str, str, NDArray[np.float32], Frame]  # measure, method, guess, truth
NOISE = 20.0  # grey levels
HORIZON, GAP, PERIOD = 5, 3, 16  # frames ahead; frames hidden in a row, and from one gap to the next
WIDTHS, STRENGTHS = (0.5, 0.7, 1.0, 1.5, 2.0), (8.0, 12.0, 16.0, 20.0, 25.0)
REFERENCES = {"last_frame", "optical_flow", "fine_flow", "mean", "cubic", "blur", "non_local_means", "untouched"}


def extrapolated(trained: TrainedModel, frames: list[Frame]) -> Iterator[Scored]:
    """Forecasts from windows in the second half, each with what was learned from the frames before it."""
    ahead = Ahead(trained, HORIZON)
    for start, guesses in ahead.windows(frames, 2):
        if len(frames) // 2 <= start <= len(frames) - HORIZON:
            given = ahead.given(guesses)
            for lead in (1, HORIZON):
                truth = frames[start + lead - 1]
                yield f"frame {lead}", "blend", to_values(given[lead - 1]), truth
                for name, guess in guesses[lead - 1].items():
                    yield f"frame {lead}", name, guess, truth


def filled_in(trained: TrainedModel, frames: list[Frame]) -> Iterator[Scored]:
    """Guesses of three missing frames in a row, at many places."""
    missing = [n for n in range(PERIOD // 2, len(frames) - PERIOD // 2) if n % PERIOD in range(GAP)]
    for number, (frame, between) in enumerate(filled(trained, frames, missing)):
        if number in missing:
            yield "fill in 3", "blend", to_values(frame), frames[number]
            for name, guess in between.guesses.items():
                yield "fill in 3", name, guess, frames[number]


def doubled(trained: TrainedModel, frames: list[Frame]) -> Iterator[Scored]:
    """Guesses of every second frame."""
    for number, (frame, between) in enumerate(retimed(trained, frames[::2], 2.0)):
        if number % 2:
            yield "retime x2", "blend", to_values(frame), frames[number]
            for name, guess in between.guesses.items():
                yield "retime x2", name, guess, frames[number]


def denoised_ones(trained: TrainedModel, frames: list[Frame]) -> Iterator[Scored]:
    """Frames with Gaussian noise and denoised; every fourth frame is scored."""
    random = np.random.default_rng(0)
    noisy = [to_frame((frame + random.normal(0, NOISE, frame.shape)) / 255) for frame in frames]
    for number, frame in enumerate(denoised(noisy)):
        if number % 4 == 2:
            values = to_values(noisy[number])
            yield "denoise", "blend", to_values(frame), frames[number]
            yield "denoise", "untouched", values, frames[number]
            for width in WIDTHS:
                yield "denoise", f"blur {width:g}", references.blurred(values, width), frames[number]
            for strength in STRENGTHS:
                guess = references.non_local_means(values, strength)
                yield "denoise", f"non_local_means {strength:g}", guess, frames[number]


TASKS = {"extrapolate": extrapolated, "fill_in": filled_in, "retime": doubled, "denoise": denoised_ones}


def scored(task: str, trained: TrainedModel, frames: list[Frame]) -> pd.DataFrame:
    """A row for each measure and method: mean PSNR and SSIM over frames, with the best of several strengths."""
    rows = []
    for measure, method, guess, truth in TASKS[task](trained, frames):
        guess, true = to_values(to_frame(guess)), to_values(truth)  # rounded to 8 bits, as users get them
        similarity = structural_similarity(guess, true, data_range=1.0, channel_axis=2)
        rows.append({"measure": measure, "method": method, "psnr": psnr(guess, true), "ssim": similarity})
    table = pd.DataFrame(rows).groupby(["measure", "method"], as_index=False).mean()
    table["method"] = table["method"].str.split(" ").str[0]
    return table.sort_values("psnr").groupby(["measure", "method"], as_index=False).last()


def read(path: Path, lines: int, most: int) -> Iterator[tuple[str, list[Frame]]]:
    """The first frames of each video, made smaller if they have too many lines."""
    for source in find_footage(path):
        for recording in open_footage(source):
            frames = []
            for frame, _ in zip(recording.frames, range(most), strict=False):
                height, width = frame.shape[:2]
                if height > 1.3 * lines:
                    size = (round(width * lines / height), lines)
                    shrunk = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                    frame = np.asarray(shrunk, np.uint8).reshape(size[1], size[0], -1)
                frames.append(frame)
            place = "/".join(path.absolute().parts[-2:])
            yield place if recording.name == path.name else f"{place}/{recording.name}", frames


def main() -> None:
    """Print tables of all videos; ``--table`` keeps what each one has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("footage", type=Path, nargs="+", help="videos, folders of images, or folders of such")
    parser.add_argument("--model", required=True, help="folder of a trained model")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--fit", default="auto", help="how the model sees frames of another size than its own")
    parser.add_argument("--context", type=int, default=5)
    parser.add_argument("--lines", type=int, default=240, help="of frames, at most")
    parser.add_argument("--frames", type=int, default=80, help="of a video, at most")
    parser.add_argument("--table", type=Path, help="CSV file for all numbers")
    arguments = parser.parse_args()
    trained = linear_video.load(arguments.model, arguments.fit, arguments.context)
    tables = []
    for path in arguments.footage:
        for name, frames in read(path, arguments.lines, arguments.frames):
            for task in tqdm(arguments.tasks, name):
                tables.append(scored(task, trained, frames).assign(video=name))
    table = pd.concat(tables, ignore_index=True)
    if arguments.table:
        table.to_csv(arguments.table, index=False)
    median = table.groupby(["method", "measure"], as_index=False)[["psnr", "ssim"]].median()
    median["both"] = [f"{psnr:.1f} / {ssim:.3f}" for psnr, ssim in zip(median["psnr"], median["ssim"], strict=True)]
    cells = median.pivot_table("both", "method", "measure", aggfunc="first", fill_value="")
    shown = cells[list(dict.fromkeys(table["measure"]))].reset_index()
    print(f"PSNR / dB and SSIM, medians of {table['video'].nunique()} videos:\n\n{markdown_table(shown)}")
    best = table[table["method"].isin(REFERENCES)].groupby(["measure", "video"])["psnr"].max()
    for method in ("blend", "model"):
        own = table[table["method"] == method].set_index(["measure", "video"])["psnr"]
        above = (own - best).dropna().groupby("measure", sort=False).agg(["mean", "median", "min"])
        above = above.map("{:+.2f}".format).reset_index()
        print(f"\n{method}, dB above the best reference of each video:\n\n{markdown_table(above)}")


if __name__ == "__main__":
    main()
