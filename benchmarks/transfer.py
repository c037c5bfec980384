"""Models that were trained on digits, on symbols of other kinds: letters and polygons.

    python benchmarks/transfer.py data/06_models/ile/moving_symbols data/06_models/convolutional/moving_symbols

Sizes and speeds are those of the clips that the models were trained on; optical flow and the last frame stand beside.
"""

import argparse
import string
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from linear_video.clips.moving_symbols import MovingSymbolsSettings, simulate
from linear_video.clips.readers.symbols import Symbol, load_symbols
from linear_video.evaluation.scores import score_frames
from linear_video.models.checkpoint import load_checkpoint
from linear_video.models.registry import build

CONTEXT, HORIZON, SEED = 10, 5, 11


def letters(size: int) -> list[Symbol]:
    """Capital letters, thin and bold."""
    symbols = []
    for letter in string.ascii_uppercase:
        for thickness in (4, 9):
            picture = np.zeros((96, 96), np.uint8)
            cv2.putText(picture, letter, (16, 76), cv2.FONT_HERSHEY_SIMPLEX, 2.5, 255, thickness, cv2.LINE_AA)
            symbols.append(_symbol(picture, size, letter))
    return symbols


def polygons(size: int) -> list[Symbol]:
    """Filled outlines of three to six corners."""
    random, symbols = np.random.default_rng(SEED), []
    for _ in range(50):
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(3, 7))))
        corners = 48 + 40 * np.stack((np.cos(angles), np.sin(angles)), 1)
        picture = np.zeros((96, 96), np.uint8)
        cv2.fillPoly(picture, [np.rint(corners).astype(np.int32)], 255, cv2.LINE_AA)
        symbols.append(_symbol(picture, size, "polygon"))
    return symbols


def _symbol(picture: NDArray[np.uint8], size: int, label: str) -> Symbol:
    """Cropped tightly, its longer side so many pixels."""
    x, y, width, height = cv2.boundingRect(picture)
    scale = size / max(width, height)
    wanted = (max(1, round(scale * width)), max(1, round(scale * height)))
    planes = cv2.resize(picture[y : y + height, x : x + width], wanted, interpolation=cv2.INTER_AREA)
    return Symbol(planes[..., None] / np.float32(255), label, label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="folders of models trained on moving digits of one size")
    parser.add_argument("--clips", type=int, default=100)
    arguments = parser.parse_args()
    models = {f"{path.parent.name}": load_checkpoint(path).eval() for path in arguments.models}
    (shape,) = {model.frame_shape for model in models.values()}
    models["optical_flow"] = build("optical_flow", shape, {}).eval()
    side, size = shape[1], shape[1] // 2
    settings = MovingSymbolsSettings(
        symbol_size=size, render_size=side, frame_size=side, channels=shape[0], speed=(side / 32, side / 16)
    )
    kinds = {
        "digits": load_symbols("digits", Path(), size, "test"),
        "letters": letters(size),
        "polygons": polygons(size),
    }
    rows = []
    for kind, symbols in kinds.items():
        clips = simulate(settings, symbols, "test", SEED, range(arguments.clips)).frames / np.float32(255)
        context, truth = torch.from_numpy(clips[:, :CONTEXT]), clips[:, CONTEXT : CONTEXT + HORIZON].astype(float)
        predicted = {name: model.predict(context, HORIZON).numpy() for name, model in models.items()}
        predicted["last frame"] = np.repeat(clips[:, CONTEXT - 1 : CONTEXT], HORIZON, axis=1)
        for name, frames in predicted.items():
            psnr, ssim = (values.mean(0) for values in score_frames(frames.astype(float), truth))
            figures = {f"frame {k + 1}": f"{psnr[k]:.1f} / {ssim[k]:.3f}" for k in (0, HORIZON - 1)}
            rows.append({"symbols": kind, "model": name, **figures})
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
