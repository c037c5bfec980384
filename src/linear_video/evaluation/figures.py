"""Pictures of clips, predictions, scores and eigenvalues."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet

if TYPE_CHECKING:
    from linear_video.models.base import VideoModel

Frames = NDArray[np.floating[Any]]  # (T, C, H, W), or (N, T, C, H, W)

# Told apart by colour-blind readers (Okabe, Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#7f7f7f", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MODEL_COLOUR = COLOURS[0]


def _image(frame: Frames) -> Frames:
    """(C, H, W) -> (H, W) or (H, W, 3), as matplotlib shows pictures."""
    return frame[0] if len(frame) == 1 else frame.transpose(1, 2, 0)


def contact_sheet(splits: dict[str, ClipSet], clips_shown: int, title: str, frames_shown: int = 8) -> Figure:
    """Some clips of each split in rows, spread evenly over it; above the first, the frames' numbers within a clip."""
    length, _, height, width = next(iter(splits.values())).frames.shape[1:]
    moments = np.linspace(0, length - 1, min(frames_shown, length)).round().astype(int)
    chosen = []
    for split, clips in splits.items():
        count = len(clips.frames)
        for clip in np.linspace(0, count - 1, min(clips_shown, count)).round().astype(int):
            facts = clips.table.iloc[clip]
            label = facts["label"] if len(facts["label"]) <= 20 else f"{facts['label'][:19]}…"
            chosen.append((f"{split}\n{label}\nfrom {facts['start']}", clips.frames[clip, moments]))
    figure = Figure(figsize=(0.9 * len(moments) * width / height + 1.6, 0.95 * len(chosen) + 0.5), layout="constrained")
    axes = figure.subplots(len(chosen), len(moments), squeeze=False)
    for row, (label, frames) in zip(axes, chosen, strict=True):
        row[0].set_ylabel(label, fontsize=7, rotation=0, ha="right", va="center")
        for axis, frame in zip(row, frames, strict=True):
            axis.imshow(_image(frame), cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
    for axis, moment in zip(axes[0], moments, strict=True):
        axis.set_title(str(moment), fontsize=7)
    figure.suptitle(title, fontsize=10)
    return figure


def representative_clips(psnr: NDArray[np.float64], count: int) -> list[int]:
    """Clips spread evenly from the worst to the best mean PSNR (N, horizon), without the very extremes."""
    order = np.argsort(psnr.mean(axis=1))
    count = min(count, len(order))
    return [int(order[round((k + 0.5) / count * len(order) - 0.5)]) for k in range(count)]


def filmstrip(context: Frames, truth: Frames, predicted: Frames, title: str) -> Figure:
    """Rows of context + truth, prediction and error for each clip (N, T, C, H, W)."""
    clips, seen, horizon = len(context), min(context.shape[1], 5), truth.shape[1]
    figure = Figure(figsize=(0.82 * (seen + horizon) + 1.0, 2.55 * clips + 0.4), layout="constrained")
    axes = figure.subplots(3 * clips, seen + horizon, squeeze=False)
    for clip in range(clips):
        strip = np.concatenate((context[clip, -seen:], truth[clip]))
        for column in range(seen + horizon):
            ahead = column - seen
            top, middle, bottom = (axes[3 * clip + row, column] for row in range(3))
            top.imshow(_image(strip[column]), cmap="gray", vmin=0, vmax=1)
            if clip == 0:
                top.set_title(f"{ahead:+d}" if ahead < 0 else f"+{ahead + 1}", fontsize=9)
            if ahead >= 0:
                middle.imshow(_image(predicted[clip, ahead]), cmap="gray", vmin=0, vmax=1)
                error = np.abs(predicted[clip, ahead] - truth[clip, ahead]).mean(axis=0)
                bottom.imshow(error, cmap="magma", vmin=0, vmax=1)
            for axis in (top, middle, bottom):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            if ahead < 0:
                middle.set_visible(False)
                bottom.set_visible(False)
        for row, label in enumerate(("truth", "predicted", "|error|")):
            axes[3 * clip + row, seen].set_ylabel(label, fontsize=8)
        axes[3 * clip, 0].set_ylabel("context", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def horizon_plot(rows: Mapping[str, Mapping[str, Any]]) -> Figure:
    """PSNR and SSIM against the number of the predicted frame, with 95 % intervals.

    ``rows``: by the name of a model, ``psnr``, ``psnr_ci95``, ``ssim`` and ``ssim_ci95`` of each predicted frame.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axis, metric, label in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR / dB", "SSIM"), strict=True):
        for (row, values), colour in zip(rows.items(), itertools.cycle(COLOURS)):
            mean, half = np.array(values[metric]), np.array(values[f"{metric}_ci95"])
            frames = np.arange(1, len(mean) + 1)
            axis.plot(frames, mean, marker="o", markersize=4, color=colour, label=row)
            axis.fill_between(frames, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
        axis.set_xlabel("predicted frame")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    return figure


def comparison_strip(context: Frames, truth: Frames, predicted: Mapping[str, Frames], title: str) -> Figure:
    """One clip (T, C, H, W): context and truth, below them what each model predicts."""
    seen, horizon = min(len(context), 5), len(truth)
    figure = Figure(figsize=(0.82 * (seen + horizon) + 1.3, 0.82 * (1 + len(predicted)) + 0.5), layout="constrained")
    axes = figure.subplots(1 + len(predicted), seen + horizon, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    rows = {"truth": np.concatenate((context[-seen:], truth)), **predicted}
    for line, (name, frames) in zip(axes, rows.items(), strict=True):
        for axis, frame in zip(line[-len(frames) :], frames, strict=True):
            axis.imshow(_image(frame), cmap="gray", vmin=0, vmax=1)
        line[0].set_ylabel(name.replace("_", " "), fontsize=9, rotation=0, ha="right", va="center")
    for column, axis in enumerate(axes[0], start=-seen):
        axis.set_title(f"{column:+d}" if column < 0 else f"+{column + 1}", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def spectrum_plot(
    eigenvalues: NDArray[np.complex128], period: NDArray[np.float64], half_life: NDArray[np.float64]
) -> Figure:
    """Eigenvalues in the unit disc, and each mode's period against its half-life, both in frames."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    disc, times = figure.subplots(1, 2)
    angle = np.linspace(0, 2 * np.pi, 256)
    disc.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.8)
    for values in (eigenvalues, eigenvalues.conj()):
        disc.scatter(values.real, values.imag, s=8, color=MODEL_COLOUR, alpha=0.6, linewidths=0)
    disc.set_aspect("equal")
    disc.set(xlabel="real part", ylabel="imaginary part", title="eigenvalues of A")
    # A log scale cannot show what never turns or never decays: such modes stand at the edge.
    edge = 1e4
    times.scatter(
        np.minimum(period, edge), np.minimum(half_life, edge), s=8, color=MODEL_COLOUR, alpha=0.6, linewidths=0
    )
    times.set(xscale="log", yscale="log", xlabel="period / frames", ylabel="half-life / frames", title="modes")
    times.grid(alpha=0.3)
    return figure


def spectrum_of_model(model: "VideoModel") -> dict[str, Figure]:
    """The spectrum by its name, of a model that has one."""
    from linear_video.models.base import HasSpectrum

    if not isinstance(model, HasSpectrum):
        return {}
    return {"spectrum": spectrum_plot(*(values.numpy() for values in model.spectrum()))}


def animation(context: Frames, truth: Frames, predicted: Frames, name: str, side: int = 96) -> NDArray[np.uint8]:
    """Truth above prediction for clips side by side, context first: uint8 (T, height, width, 3).

    A red frame around a prediction tells that the model no longer sees the truth.
    """
    above = np.concatenate((context, truth), axis=1)
    below = np.concatenate((context, predicted), axis=1)
    seen, pad, font = context.shape[1], 3, cv2.FONT_HERSHEY_SIMPLEX
    pictures = []
    for t in range(above.shape[1]):
        rows = []
        for row, strip in ((0, above), (1, below)):
            tiles = []
            for clip in range(len(strip)):
                tile = np.rint(255 * np.clip(strip[clip, t], 0, 1)).astype(np.uint8).transpose(1, 2, 0)
                tile = cv2.resize(tile, (side, side), interpolation=cv2.INTER_NEAREST).reshape(side, side, -1)
                colour = (213, 94, 0) if row and t >= seen else (90, 90, 90)
                tile = np.broadcast_to(tile, (side, side, 3))
                tiles.append(cv2.copyMakeBorder(tile, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=colour))
            rows.append(np.hstack(tiles))
        picture = np.vstack(rows)
        header = np.zeros((18, picture.shape[1], 3), np.uint8)
        text = f"context {t + 1 - seen:+d}" if t < seen else f"{name} +{t - seen + 1}"
        cv2.putText(header, text, (4, 13), font, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
        pictures.append(np.vstack((header, picture)))
    return np.stack(pictures)


def synthesis_strip(
    rows: dict[str, list[NDArray[np.uint8]]], title: str, sequences: int = 3, frames: int = 16
) -> Figure:
    """First frames of some sequences (F, C, H, W), in rows below each other: truth, model and so on."""
    count = len(next(iter(rows.values())))
    chosen = np.linspace(0, count - 1, min(sequences, count)).round().astype(int)
    height, width = next(iter(rows.values()))[0].shape[-2:]
    lines = len(chosen) * len(rows)
    figure = Figure(figsize=(0.75 * frames * width / height + 1.0, 0.8 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, frames, squeeze=False)
    for line, (sequence, name) in enumerate((s, n) for s in chosen for n in rows):
        shown = rows[name][sequence][:frames]
        for column, axis in enumerate(axes[line]):
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if column < len(shown):
                axis.imshow(_image(shown[column]), cmap="gray", vmin=0, vmax=255)
            if line == 0:
                axis.set_title(str(column), fontsize=7)
        axes[line, 0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    figure.suptitle(title, fontsize=10)
    return figure


def synthesis_animation(
    rows: dict[str, list[NDArray[np.uint8]]], sequences: int = 4, frames: int = 100, side: int = 64
) -> NDArray[np.uint8]:
    """Some sequences side by side, truth, model and so on below each other: uint8 (F, height, width, 3).

    What is shorter starts again.
    """
    count = len(next(iter(rows.values())))
    chosen = np.linspace(0, count - 1, min(sequences, count)).round().astype(int)
    length = min(frames, max(len(sequence) for several in rows.values() for sequence in several))
    pictures = []
    for t in range(length):
        lines = []
        for name, several in rows.items():
            tiles = [_tile(several[s][t % len(several[s])], side) for s in chosen]
            label = np.zeros((16, sum(tile.shape[1] for tile in tiles), 3), np.uint8)
            text = f"{name} {t}" if name != "truth" else name
            cv2.putText(label, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
            lines += [label, np.hstack(tiles)]
        pictures.append(np.vstack(lines))
    return np.stack(pictures)


def _tile(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(C, H, W) -> (side + 4, side + 4, 3) with a border."""
    tile = cv2.resize(frame.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_NEAREST).reshape(side, side, -1)
    return np.asarray(np.pad(np.broadcast_to(tile, (side, side, 3)), ((2, 2), (2, 2), (0, 0)), constant_values=60))
