"""Pictures of clips, predictions, scores and eigenvalues."""

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet
from linear_video.evaluation.held_out import spread

if TYPE_CHECKING:
    from linear_video.models.base import VideoModel

Frames = NDArray[np.floating[Any]]  # (T, C, H, W), or (N, T, C, H, W)

# Told apart by colour-blind readers (Okabe, Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#7f7f7f", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MODEL_COLOUR = COLOURS[0]


def sheet(lines: int, columns: int, size: tuple[float, float], title: str) -> tuple[Figure, Any]:
    """A figure for pictures in lines, with axes that show nothing but them."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        bare(axis)
    figure.suptitle(title, fontsize=10, parse_math=False)  # $ may be in a name
    return figure, axes


def bare(axis: Any) -> None:
    """Leave out ticks and border."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def show(axes: Any, frames: Iterable[NDArray[Any]], white: float) -> None:
    """Frames (C, H, W), one on each of the axes, as far as there are both."""
    for axis, frame in zip(axes, frames, strict=False):
        axis.imshow(frame[0] if len(frame) == 1 else frame.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=white)


def name_line(axis: Any, name: str, fontsize: int) -> None:
    """What a line of pictures is, at its left."""
    axis.set_ylabel(name, fontsize=fontsize, rotation=0, ha="right", va="center", parse_math=False)


def _number(axes: Any, seen: int) -> None:
    """Numbers of frames above them, from -seen; the first predicted one is +1."""
    for column, axis in enumerate(axes, start=-seen):
        axis.set_title(f"{column:+d}" if column < 0 else f"+{column + 1}", fontsize=9)


def contact_sheet(splits: dict[str, ClipSet], clips_shown: int, title: str, frames_shown: int = 8) -> Figure:
    """Some clips of each split in rows, spread evenly over it; above the first, the frames' numbers within a clip."""
    length, _, height, width = next(iter(splits.values())).frames.shape[1:]
    moments = spread(frames_shown, length)
    chosen = [(s, clips, clip) for s, clips in splits.items() for clip in spread(clips_shown, len(clips.frames))]
    size = (0.9 * len(moments) * width / height + 1.6, 0.95 * len(chosen) + 0.5)
    figure, axes = sheet(len(chosen), len(moments), size, title)
    for row, (split, clips, clip) in zip(axes, chosen, strict=True):
        facts = clips.table.iloc[clip]
        label = facts["label"] if len(facts["label"]) <= 20 else f"{facts['label'][:19]}…"
        name_line(row[0], f"{split}\n{label}\nfrom {facts['start']}", 7)
        show(row, clips.frames[clip, moments], 255)
    for axis, moment in zip(axes[0], moments, strict=True):
        axis.set_title(str(moment), fontsize=7)
    return figure


def representative_clips(psnr: NDArray[np.float64], count: int) -> list[int]:
    """Clips spread evenly from the worst to the best mean PSNR (N, horizon), without the very extremes."""
    order = np.argsort(psnr.mean(axis=1))
    count = min(count, len(order))
    return [int(order[round((k + 0.5) / count * len(order) - 0.5)]) for k in range(count)]


def filmstrip(context: Frames, truth: Frames, predicted: Frames, title: str) -> Figure:
    """Rows of context + truth, prediction and error for each clip (N, T, C, H, W)."""
    clips, seen, horizon = len(context), min(context.shape[1], 5), truth.shape[1]
    figure, axes = sheet(3 * clips, seen + horizon, (0.82 * (seen + horizon) + 1.0, 2.55 * clips + 0.4), title)
    for clip, (top, middle, bottom) in enumerate(axes.reshape(clips, 3, -1)):
        show(top, (*context[clip, -seen:], *truth[clip]), 1)
        show(middle[seen:], predicted[clip], 1)
        for axis, error in zip(bottom[seen:], np.abs(predicted[clip] - truth[clip]).mean(axis=1), strict=True):
            axis.imshow(error, cmap="magma", vmin=0, vmax=1)
        for axis in (*middle[:seen], *bottom[:seen]):
            axis.set_visible(False)
        for line, label in ((top, "truth"), (middle, "predicted"), (bottom, "|error|")):
            line[seen].set_ylabel(label, fontsize=8)
        top[0].set_ylabel("context", fontsize=8)
    _number(axes[0], seen)
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
    lines, names = figure.axes[0].get_legend_handles_labels()
    names = [name.replace("_", " ") for name in names]
    figure.legend(lines, names, loc="outside lower center", ncols=min(len(names), 5), frameon=False)
    return figure


def comparison_strip(context: Frames, truth: Frames, predicted: Mapping[str, Frames], title: str) -> Figure:
    """One clip (T, C, H, W): context and truth, below them what each model predicts."""
    seen, horizon = min(len(context), 5), len(truth)
    size = (0.82 * (seen + horizon) + 1.3, 0.82 * (1 + len(predicted)) + 0.5)
    figure, axes = sheet(1 + len(predicted), seen + horizon, size, title)
    rows = {"truth": np.concatenate((context[-seen:], truth)), **predicted}
    for line, (name, frames) in zip(axes, rows.items(), strict=True):
        show(line[-len(frames) :], frames, 1)
        name_line(line[0], name.replace("_", " "), 9)
    _number(axes[0], seen)
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


def spectrum_of_model(model: "VideoModel", clip: NDArray[np.uint8]) -> dict[str, Figure]:
    """The spectrum by its name, of a model that has one: in a clip uint8 (T, C, H, W), where it depends on that."""
    import torch

    from linear_video.models.base import HasSpectrum

    if not isinstance(model, HasSpectrum) or not model.offers(HasSpectrum):
        return {}
    spectrum = model.spectrum(torch.from_numpy(np.array(clip[None])).float() / 255)
    return {"spectrum": spectrum_plot(*(values.numpy() for values in spectrum))}


def animation(context: Frames, truth: Frames, predicted: Frames, name: str, side: int = 96) -> NDArray[np.uint8]:
    """Truth above prediction for clips side by side, context first: uint8 (T, height, width, 3).

    A red frame around a prediction tells that the model no longer sees the truth.
    """
    seen, pictures = context.shape[1], []
    strips = [np.concatenate((context, after), axis=1) for after in (truth, predicted)]
    for t in range(strips[0].shape[1]):
        rows = []
        for row, strip in enumerate(strips):
            colour = (213, 94, 0) if row and t >= seen else (90, 90, 90)
            frames = np.rint(255 * np.clip(strip[:, t], 0, 1)).astype(np.uint8)
            rows.append(np.hstack([_tile(frame, side, 3, colour) for frame in frames]))
        text = f"context {t + 1 - seen:+d}" if t < seen else f"{name} +{t - seen + 1}"
        pictures.append(np.vstack((_caption(text, rows[0].shape[1], 18, 0.42), *rows)))
    return np.stack(pictures)


def synthesis_strip(
    rows: dict[str, list[NDArray[np.uint8]]], title: str, sequences: int = 3, frames: int = 16
) -> Figure:
    """First frames of some sequences (F, C, H, W), in rows below each other: truth, model and so on."""
    several = next(iter(rows.values()))
    height, width = several[0].shape[-2:]
    shown = [(name, rows[name][number]) for number in spread(sequences, len(several)) for name in rows]
    size = (0.75 * frames * width / height + 1.0, 0.8 * len(shown) + 0.5)
    figure, axes = sheet(len(shown), frames, size, title)
    for line, (name, sequence) in zip(axes, shown, strict=True):
        show(line, sequence, 255)
        name_line(line[0], name, 7)
    for column, axis in enumerate(axes[0]):
        axis.set_title(str(column), fontsize=7)
    return figure


def synthesis_animation(
    rows: dict[str, list[NDArray[np.uint8]]], sequences: int = 4, frames: int = 100, side: int = 64
) -> NDArray[np.uint8]:
    """Some sequences side by side, truth, model and so on below each other: uint8 (F, height, width, 3).

    What is shorter starts again.
    """
    chosen = spread(sequences, len(next(iter(rows.values()))))
    length = min(frames, max(len(sequence) for several in rows.values() for sequence in several))
    pictures = []
    for t in range(length):
        lines = []
        for name, several in rows.items():
            tiles = np.hstack([_tile(several[s][t % len(several[s])], side, 2, (60, 60, 60)) for s in chosen])
            text = f"{name} {t}" if name != "truth" else name
            lines += [_caption(text, tiles.shape[1], 16, 0.4), tiles]
        pictures.append(np.vstack(lines))
    return np.stack(pictures)


def _tile(frame: NDArray[np.uint8], side: int, border: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(C, H, W) -> (side + 2 border, side + 2 border, 3)."""
    tile = cv2.resize(frame.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_NEAREST).reshape(side, side, -1)
    tile = np.broadcast_to(tile, (side, side, 3))
    return np.asarray(cv2.copyMakeBorder(tile, *(border,) * 4, cv2.BORDER_CONSTANT, value=colour), np.uint8)


def _caption(text: str, width: int, height: int, size: float) -> NDArray[np.uint8]:
    """White on black: (height, width, 3)."""
    picture = np.zeros((height, width, 3), np.uint8)
    cv2.putText(picture, text, (4, 3 * height // 4), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
