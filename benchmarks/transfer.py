"""Score models that were trained on digits on other symbols: letters and polygons.

    python benchmarks/transfer.py data/06_models/ile/moving_symbols data/06_models/convolutional/moving_symbols

Sizes and speeds are as in the clips of the training. Optical flow and the last frame are scored beside the models.
"""

import argparse
import string
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from linear_video.clips.moving_symbols import MovingSymbolsSettings, simulate
from linear_video.clips.planted_events import shape_like
from linear_video.clips.readers.symbols import Symbol, crop_and_resize, load_symbols
from linear_video.common.markup import markdown_table
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
            planes = crop_and_resize((picture[..., None] / 255).astype(np.float32), size)
            assert planes is not None
            symbols.append(Symbol(planes, letter, f"{letter}, {thickness}"))
    return symbols


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="folders of models trained on moving digits of one size")
    parser.add_argument("--clips", type=int, default=100)
    arguments = parser.parse_args()
    models = {path.parent.name: load_checkpoint(path).eval() for path in arguments.models}
    (shape,) = {model.frame_shape for model in models.values()}
    models["optical_flow"] = build("optical_flow", shape, {}).eval()
    side, size = shape[1], shape[1] // 2
    settings = MovingSymbolsSettings(
        symbol_size=size, render_size=side, frame_size=side, channels=shape[0], speed=(side / 32, side / 16)
    )
    digits, random = load_symbols("digits", Path(), size, "test"), np.random.default_rng(SEED)
    kinds = {
        "digits": digits,
        "letters": letters(size),
        "polygons": [shape_like(digit, random) for digit in digits],
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
    print(markdown_table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
