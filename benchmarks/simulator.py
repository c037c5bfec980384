"""How fast Moving Symbols are simulated, drawing and bookkeeping included, on one thread."""

from pathlib import Path

import cv2

from linear_video.clips.moving_symbols import MovingSymbolsSettings, simulate
from linear_video.clips.readers.symbols import load_symbols
from measuring import in_turns, table

CLIPS = 1_000
CASES = {
    "one symbol": MovingSymbolsSettings(),
    "two symbols that collide": MovingSymbolsSettings(symbols_per_clip=(2, 2), collisions=True),
}


def report() -> str:
    """Table of frames per second."""
    cv2.setNumThreads(1)
    symbols = load_symbols("digits", Path(), MovingSymbolsSettings.symbol_size, "train")
    steps = {
        name: lambda settings=settings: simulate(settings, symbols, "train", seed=0, clips=range(CLIPS))
        for name, settings in CASES.items()
    }
    times = in_turns(steps, reference="one symbol", rounds=7)
    frames = CLIPS * MovingSymbolsSettings.frames
    times["frames/s"] = [f"{1000 * frames / ms:,.0f}" for ms in times["ms"]]
    return (
        f"{CLIPS:,} clips of {MovingSymbolsSettings.frames} frames, 64x64. Target: 40,000 frames/s.\n\n{table(times)}"
    )
