"""How fast Moving Symbols are simulated: ``python benchmarks/simulator.py``.

Frames per second of 64x64 clips on one thread, with one symbol and with two that collide, drawing and bookkeeping
included. The repetitions take turns, so that a load of the machine that comes and goes meets both alike.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):  # before NumPy is imported
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import statistics  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import cv2  # noqa: E402

from linear_video.clips.moving_symbols import MovingSymbolsSettings, simulate  # noqa: E402
from linear_video.clips.symbols import load_symbols  # noqa: E402

CLIPS, REPETITIONS = 1_000, 7
TARGET = 40_000  # frames per second with one symbol
CASES = {
    "one symbol": MovingSymbolsSettings(),
    "two symbols": MovingSymbolsSettings(symbols_per_clip=(2, 2), collisions=True),
}


def main() -> None:
    cv2.setNumThreads(1)
    symbols = load_symbols("digits", Path(), MovingSymbolsSettings.symbol_size, "train")
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    for repetition in range(REPETITIONS + 1):
        for name, settings in CASES.items():
            start = time.perf_counter()
            frames = simulate(settings, symbols, "train", seed=0, clips=range(CLIPS)).frames
            seconds = time.perf_counter() - start
            if repetition:  # the first one warms up
                rates[name].append(frames.shape[0] * frames.shape[1] / seconds)
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"{name:11}  median {median:8,.0f} frames/s, from {min(values):,.0f} to {max(values):,.0f}")
    share = statistics.median(rates["one symbol"]) / TARGET
    print(f"one symbol reaches {share:.0%} of the target of {TARGET:,} frames/s")


if __name__ == "__main__":
    main()
