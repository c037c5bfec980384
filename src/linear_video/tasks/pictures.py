"""Pictures of the results of a trained model on footage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from linear_video.evaluation.figures import COLOURS, bare, name_line, sheet, show
from linear_video.tasks.alarms import Calibration
from linear_video.tasks.backtest import Example
from linear_video.tasks.frequencies import Peak
from linear_video.tasks.parts import Frame
from linear_video.tasks.trained import Modes

BLUE, ORANGE = COLOURS[:2]
CELL = 1.2  # inches of a frame's height
DPI = 110


def strip(rows: Mapping[str, Sequence[tuple[str, Frame]]], title: str, height_inches: float = CELL) -> Figure:
    """Rows of frames of the given height, each with a caption."""
    columns = max(len(row) for row in rows.values())
    height, width = next(frame for row in rows.values() for _, frame in row).shape[:2]
    size = (height_inches * columns * width / height + 1.2, (height_inches + 0.25) * len(rows) + 0.5)
    figure, axes = sheet(len(rows), columns, size, title)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        show(line, (frame.transpose(2, 0, 1) for _, frame in row), 255)
        for axis, (caption, _) in zip(line, row, strict=False):
            axis.set_title(caption, fontsize=8)
        name_line(line[0], name, 9)
    return figure


def compared(examples: Sequence[Example], title: str) -> Figure:
    """The worst and the median guess of known frames, beside the truth, at their own size or larger."""
    ordered = sorted(examples, key=lambda example: example.psnr)
    chosen = {"worst": ordered[0], "median": ordered[(len(ordered) - 1) // 2]}
    names = [name for name in ordered[0].frames if all(name in example.frames for example in chosen.values())]
    rows: dict[str, list[tuple[str, Frame]]] = {}
    for name in names:
        rows[name.replace("_", " ")] = [
            (f"{word}{example.captions[name]}", example.frames[name]) for word, example in chosen.items()
        ]
    return strip(rows, title, max(ordered[0].frames[names[0]].shape[0] / DPI, CELL))


def surprise_plot(
    shown: Sequence[tuple[int, Frame]], table: pd.DataFrame, calibration: Calibration | None, title: str
) -> Figure:
    """A film strip, and below it how surprising each frame is, with thresholds and alarms."""
    known = table["likelihood_bits"].notna().any()
    limits = (np.inf, np.inf) if calibration is None else (calibration.forecast, calibration.likelihood)
    curves = [("forecast_error", "forecast error /\nordinary one", limits[0])]
    if known:
        curves.append(("likelihood_bits", "-log2 p /\nbits per value", limits[1]))
    curves.append(("frame_difference", "without a model:\nframe difference", np.inf))
    figure = Figure(figsize=(11, 1.6 + 1.5 * len(curves)), layout="constrained")
    grid = GridSpec(1 + len(curves), len(shown), figure)
    for column, (number, frame) in enumerate(shown):
        axis = figure.add_subplot(grid[0, column])
        bare(axis)
        show([axis], [frame.transpose(2, 0, 1)], 255)
        axis.set_title(f"{number}", fontsize=8)
    for row, (name, label, threshold) in enumerate(curves, 1):
        axis = figure.add_subplot(grid[row, :])
        axis.plot(table["frame"], table[name], color=BLUE, linewidth=1)
        if np.isfinite(threshold):
            axis.axhline(threshold, color=ORANGE, linewidth=0.8, linestyle="--")
            alarms = table[table["alarm"] & (table[name] > threshold)]
            axis.scatter(alarms["frame"], alarms[name], color=ORANGE, s=14, zorder=3)
        axis.set_ylabel(label, fontsize=9)
        axis.grid(alpha=0.3)
        axis.set_xlim(0, len(table) - 1)
    axis.set_xlabel("frame" if calibration is None else "frame (dashed: threshold; dots: alarms)")
    figure.suptitle(title, fontsize=10, parse_math=False)  # $ may be in a name
    return figure


def modes_plot(modes: Modes, fps: float, title: str, peak: Peak | None = None) -> Figure:
    """Energy by frequency, and the strongest modes, shown by what frames would lose without each.

    For comparison without a model, it shows the strongest ``peak`` of the Fourier transform, with its interval.
    """
    count, table = len(modes.responses), modes.table
    lines = (count + 2) // 3
    figure = Figure(figsize=(11, 3 + 1.5 * lines), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(2.2, 1.5 * lines))
    upper, lower = halves
    axis = upper.subplots()
    axis.vlines(table["frequency_hz"], 0, table["energy"], color=BLUE, linewidth=1)
    sizes = np.where(np.arange(len(table)) < count, 38, 8)
    axis.scatter(table["frequency_hz"], table["energy"], s=sizes, color=BLUE)
    if peak is not None and np.isfinite(peak.frequency_hz):
        axis.axvspan(*peak.interval_hz, color=ORANGE, alpha=0.25, label=f"Fourier peak, {peak.frequency_hz:.2f} Hz")
        axis.legend(fontsize=8)
    axis.set(xlabel="frequency / Hz", ylabel="share of energy", xlim=(-0.01 * fps, fps / 2), ylim=(0, None))
    axis.grid(alpha=0.3)
    axes = lower.subplots(lines, 6, squeeze=False).ravel()
    for axis in axes:
        bare(axis)
    for number, response in enumerate(modes.responses):
        strengths = np.square(response).sum(axis=(1, 2, 3))
        period = float(table["period_s"].iloc[number] * fps)
        first = int(strengths.argmax())
        later = min(len(response) - 1, first + round(period / 4)) if np.isfinite(period) else first
        limit = float(np.abs(response).max()) or 1.0
        for axis, moment in zip(axes[2 * number : 2 * number + 2], (first, later), strict=True):
            axis.imshow(response[moment].mean(axis=2), cmap="RdBu_r", vmin=-limit, vmax=limit)
        frequency, energy = table["frequency_hz"].iloc[number], table["energy"].iloc[number]
        axes[2 * number].set_title(f"{frequency:.2f} Hz, {100 * energy:.0f} %", fontsize=8)
        axes[2 * number + 1].set_title("a quarter period on", fontsize=8)
    figure.suptitle(title, fontsize=10, parse_math=False)  # $ may be in a name
    return figure


def power_plot(peak: Peak, title: str) -> Figure:
    """Power by frequency, on logarithmic scales, and the strongest peak with its interval."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    axis = figure.subplots()
    table = peak.table[peak.table["frequency_hz"] > 0]
    axis.loglog(table["frequency_hz"], table["power"].clip(lower=1e-15), color=BLUE, linewidth=1)
    if np.isfinite(peak.frequency_hz):
        axis.axvspan(*peak.interval_hz, color=ORANGE, alpha=0.3, label="95 % interval")
        axis.axvline(peak.frequency_hz, color=ORANGE, label=f"{peak.frequency_hz:.3f} Hz")
        axis.legend()
    axis.set(xlabel="frequency / Hz", ylabel="power / (1/Hz)")
    axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10, parse_math=False)  # $ may be in a name
    return figure


def bags_plot(modes: pd.DataFrame, title: str) -> Figure:
    """Amplitudes of modes by frequency, with the intervals of the frequencies."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    axis = figure.subplots()
    half = modes["to_hz"] - modes["frequency_hz"]
    axis.errorbar(modes["frequency_hz"], modes["amplitude"], xerr=half, fmt="o", color=BLUE, ecolor=ORANGE, capsize=3)
    axis.set(xlabel="frequency / Hz (bars: 95 % of bags)", ylabel="amplitude", ylim=(0, None), xlim=(0, None))
    axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    return figure


def spread_plot(futures: NDArray[np.uint8], title: str) -> Figure:
    """Some futures (count, horizon, h, w, channels), their mean and their spread per pixel."""
    futures = np.moveaxis(futures, -1, 2)  # (count, horizon, channels, h, w)
    values = futures.astype(np.float32) / 255
    mean, spread = values.mean(axis=0), values.std(axis=0).mean(axis=1)
    shown = futures[:4]
    height, width = futures.shape[-2:]
    columns = min(futures.shape[1], 10)
    size = (CELL * columns * width / height + 1.6, CELL * (len(shown) + 2) + 0.6)
    figure, axes = sheet(len(shown) + 2, columns, size, title)
    for line, future in zip(axes, shown, strict=False):
        show(line, future, 255)
    show(axes[-2], mean, 1)
    for axis, frame in zip(axes[-1], spread, strict=False):
        image = axis.imshow(frame, cmap="magma", vmin=0, vmax=max(float(spread.max()), 1e-6))
    names = [*(f"future {number + 1}" for number in range(len(shown))), "mean", "spread"]
    for line, name in zip(axes, names, strict=True):
        name_line(line[0], name, 9)
    for column, axis in enumerate(axes[0], 1):
        axis.set_title(f"+{column}", fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.25, anchor=(0, 0), label="spread: standard deviation")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0.06, 0, 0.94, 1))  # type: ignore[call-arg]  # beside a colour bar, labels find no room
    return figure
