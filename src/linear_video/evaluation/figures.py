"""Pictures of clips, predictions, scores and eigenvalues."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from linear_video.clips.base import ClipSet
from linear_video.common.spread import spread

if TYPE_CHECKING:
    from linear_video.models.base import VideoModel

Frames = NDArray[np.floating[Any]]  # (T, C, H, W), or (N, T, C, H, W)

# Colours that colour-blind readers can tell apart (Okabe, Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#7f7f7f", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MODEL_COLOUR = COLOURS[0]
REFERENCE_COLOURS = dict(zip(("last_frame", "mean_frame", "optical_flow"), COLOURS[1:4], strict=True))  # on every page

ERROR = "|error|"  # name of a row of a film strip, and of a column of an animation
COLUMNS = (5, 10)  # frames of a clip in a film strip, at least and at most, if there are so many
WIDEST = 20  # frames, as wide as they are high, that clips side by side may take
LARGE = 256  # pixels of a frame's longer side in an animation, at least
DRAWN = 3  # clips in a film strip and an animation
BORDER, HEADER = 3, 24  # pixels around a frame of an animation, and of the line of text above
ORANGE, GREY = (213, 94, 0), (90, 90, 90)
ROOMY = 128  # pixels of a frame's longer side; an animation of larger ones has one clip


def sheet(lines: int, columns: int, size: tuple[float, float], title: str) -> tuple[Figure, Any]:
    """A figure for rows of pictures, whose axes show nothing but the pictures."""
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        bare(axis)
    figure.suptitle(title, fontsize=10, parse_math=False)  # $ may be in a name
    return figure, axes


def bare(axis: Any) -> None:
    """Remove ticks and border from an axis."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def show(axes: Any, frames: Iterable[NDArray[Any]], white: float) -> None:
    """Show frames (C, H, W), one on each of the axes, until either runs out."""
    for axis, frame in zip(axes, frames, strict=False):
        axis.imshow(frame[0] if len(frame) == 1 else frame.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=white)


def name_line(axis: Any, name: str, fontsize: int) -> None:
    """Write the name of a row of pictures at its left."""
    axis.set_ylabel(name, fontsize=fontsize, rotation=0, ha="right", va="center", parse_math=False)


def contact_sheet(splits: dict[str, ClipSet], clips_shown: int, title: str, frames_shown: int = 8) -> Figure:
    """Clips spread evenly over each split, in rows; above the first row stand the frames' numbers within a clip."""
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
    """Clips spread evenly from the worst to the best mean PSNR (N, horizon), without the extremes."""
    order = np.argsort(psnr.mean(axis=1))
    count = min(count, len(order))
    return [int(order[round((k + 0.5) / count * len(order) - 0.5)]) for k in range(count)]


def drawn_clips(psnr: NDArray[np.float64], numbers: NDArray[np.int64]) -> dict[int, str]:
    """Clips to be drawn, with a caption for each: what it stands for, its number and its mean PSNR.

    ``psnr`` (N, horizon) is in dB; ``numbers`` (N,) are the clips' numbers within their split.
    """
    chosen = representative_clips(psnr, DRAWN)
    words = {
        1: ("the only clip",),
        2: ("the worse clip", "the better clip"),
        3: ("the worst clip", "the median clip", "the best clip"),
    }.get(len(psnr), ("a bad clip", "the median clip", "a good clip"))
    return {
        clip: f"{word}: number {numbers[clip]}, {psnr[clip].mean():.1f} dB"
        for clip, word in zip(chosen, words, strict=True)
    }


def filmstrip(context: Frames, truth: Frames, predicted: Frames, title: str, captions: Sequence[str] = ()) -> Figure:
    """Clips (N, T, C, H, W) with rows of context, truth, prediction and error, all of one length.

    If the horizon is long, only some frames are shown, spread evenly over it; of the context, only the last ones are
    shown. ``captions`` stand above the clips.
    """
    error = np.abs(predicted - truth).mean(axis=2, keepdims=True)
    return _strips(context, {"truth": truth, "predicted": predicted, ERROR: error}, title, captions)


def comparison_strip(
    context: Frames, truth: Frames, predicted: Mapping[str, Frames], title: str, captions: Sequence[str] = ()
) -> Figure:
    """Like ``filmstrip``, with a row for the prediction of each model, and no row for errors."""
    return _strips(context, {"truth": truth, **predicted}, title, captions)


def _strips(context: Frames, rows: Mapping[str, Frames], title: str, captions: Sequence[str]) -> Figure:
    clips, horizon, _, height, width = rows["truth"].shape
    moments = spread(min(max(context.shape[1], COLUMNS[0]), COLUMNS[1]), horizon)
    seen = min(context.shape[1], len(moments))
    shown = {"context": context[:, context.shape[1] - seen :], **{name: row[:, moments] for name, row in rows.items()}}
    room = len(moments) * width / height  # width of a clip, in heights of a frame
    beside = clips * room <= WIDEST  # otherwise below each other
    across, down = (clips, 1) if beside else (1, clips)
    cell = 0.85 if clips > 1 else 1.3  # inches
    size = (cell * room * across + 1.0, (cell * len(shown) + 0.5) * down + 0.3)
    figure, axes = sheet(len(shown) * down, across, size, title)
    _close_up(figure)
    for clip, block in enumerate(axes.T if beside else axes.reshape(clips, -1)):
        for axis, (name, row) in zip(block, shown.items(), strict=True):
            picture, gap = _in_a_row(row[clip], len(moments))
            axis.imshow(picture, cmap="magma" if name == ERROR else "gray", vmin=0, vmax=1)
            if clip == 0 or not beside:
                name_line(axis, name.replace("_", " "), 9)
            if name in ("context", "truth"):
                first = len(moments) - len(row[clip])  # frames of a short context stand at the right
                places = (width + gap) * np.arange(first, len(moments)) + (width - 1) / 2
                numbers = range(-seen, 0) if name == "context" else moments + 1
                axis.set_xticks(places, [f"{number:+d}" for number in numbers], fontsize=8)
                axis.xaxis.tick_top()
                axis.tick_params(length=0, pad=1)
        if captions:
            block[0].set_title(captions[clip], fontsize=9, parse_math=False)
    return figure


def _close_up(figure: Figure) -> None:
    """Reduce the space between pictures."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=0.1, h_pad=0.02, wspace=0.01, hspace=0.0)  # type: ignore[call-arg]


def _in_a_row(frames: Frames, columns: int) -> tuple[Frames, int]:
    """Frames (T, C, H, W) side by side at the right end of a row, and the number of white pixels between them."""
    _, channels, height, width = frames.shape
    gap = max(1, width // 24)
    row = np.full((height, columns * (width + gap) - gap, channels), np.nan if channels == 1 else 1.0)
    for column, frame in enumerate(frames, start=columns - len(frames)):
        row[:, column * (width + gap) :][:, :width] = frame.transpose(1, 2, 0)
    return (row[..., 0] if channels == 1 else row), gap


def horizon_plot(rows: Mapping[str, Mapping[str, Any]]) -> Figure:
    """PSNR and SSIM against the number of the predicted frame, with 95 % intervals where they are known.

    ``rows`` gives, by the name of a model, ``psnr``, ``psnr_ci95``, ``ssim`` and ``ssim_ci95`` of each predicted frame.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    taken = {row: REFERENCE_COLOURS.get(row.replace(" ", "_")) for row in rows}
    others = itertools.cycle(colour for colour in COLOURS if colour not in taken.values())
    colours = {row: colour or next(others) for row, colour in taken.items()}
    for axis, metric, label in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR / dB", "SSIM"), strict=True):
        for row, values in rows.items():
            mean, half = (np.array(values[name], np.float64) for name in (metric, f"{metric}_ci95"))
            frames = np.arange(1, len(mean) + 1)
            axis.plot(frames, mean, marker="o", markersize=4, color=colours[row], label=row)
            if len(frames) > 1:
                axis.fill_between(frames, mean - half, mean + half, color=colours[row], alpha=0.15, linewidth=0)
            else:
                axis.vlines(frames, mean - half, mean + half, color=colours[row], alpha=0.5)
        axis.set_xlabel("predicted frame")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    lines, names = figure.axes[0].get_legend_handles_labels()
    names = [name.replace("_", " ") for name in names]
    figure.legend(lines, names, loc="outside lower center", ncols=min(len(names), 5), frameon=False)
    return figure


def spectrum_plot(
    eigenvalues: NDArray[np.complex128], period: NDArray[np.float64], half_life: NDArray[np.float64]
) -> Figure:
    """Eigenvalues in the unit disc, and each mode's period against its half-life, both in frames."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    disc, times = figure.subplots(1, 2)
    angle = np.linspace(0, 2 * np.pi, 256)
    disc.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.8)
    points = {"s": min(40, max(8, 800 / len(eigenvalues))), "color": MODEL_COLOUR, "alpha": 0.6, "linewidths": 0}
    for values in (eigenvalues, eigenvalues.conj()):
        disc.scatter(values.real, values.imag, **points)
    disc.set_aspect("equal")
    disc.set(xlabel="real part", ylabel="imaginary part", title="eigenvalues of A")
    # A log scale cannot show what never turns or never decays: such modes stand at the edge.
    edge = 1e4
    periods, half_lives = np.minimum(period, edge), np.minimum(half_life, edge)
    times.scatter(periods, half_lives, clip_on=False, **points)
    times.set(xscale="log", yscale="log", xlabel="period / frames", ylabel="half-life / frames", title="modes")
    times.set(xlim=_decades(periods), ylim=_decades(half_lives))
    times.grid(alpha=0.3)
    return figure


def _decades(values: NDArray[np.float64]) -> tuple[float, float]:
    """Limits of a log scale that shows all positive values: whole powers of ten, so that the ticks are easy to read."""
    powers = np.log10(values[values > 0])
    if not len(powers):
        return 1.0, 10.0
    low = np.floor(powers.min())
    return float(10**low), float(10 ** max(np.ceil(powers.max()), low + 1))


def spectrum_of_model(model: "VideoModel", clip: NDArray[np.uint8]) -> dict[str, Figure]:
    """The plot of a model's spectrum, by name, for a clip uint8 (T, C, H, W); empty for a model without a spectrum."""
    import torch

    from linear_video.models.base import HasSpectrum

    if not isinstance(model, HasSpectrum) or not model.offers(HasSpectrum):
        return {}
    spectrum = model.spectrum(torch.from_numpy(np.array(clip[None])).float() / 255)
    return {"spectrum": spectrum_plot(*(values.numpy() for values in spectrum))}


def animation(context: Frames, truth: Frames, predicted: Frames, name: str) -> NDArray[np.uint8]:
    """Clips (N, T, C, H, W) below each other, context first: uint8 (T, height, width, 3).

    Truth, prediction and their absolute difference stand side by side. An orange border shows that the model no longer
    sees the truth. Frames are enlarged to whole multiples of their size.
    """
    seen, factor = context.shape[1], enlargement(context.shape)
    true, made = (np.concatenate((context, after), axis=1).clip(0, 1) for after in (truth, predicted))
    pictures = []
    for t in range(true.shape[1]):
        number = f"{t - seen:+d}" if t < seen else f"{t - seen + 1:+d}"
        titles = (f"truth {number}", f"{name} {number}" if t >= seen else "seen by the model", ERROR)
        rows = []
        for one, other in zip(true[:, t], made[:, t], strict=True):
            error = colormaps["magma"](np.abs(other - one).mean(axis=0))[..., :3].transpose(2, 0, 1)
            frames = [np.rint(255 * frame).astype(np.uint8) for frame in (one, other, error)]
            borders = [ORANGE if column == 1 and t >= seen else GREY for column in range(3)]
            rows.append(np.hstack([_tile(*tile, factor) for tile in zip(frames, borders, strict=True)]))
        width = rows[0].shape[1] // 3
        pictures.append(np.vstack((np.hstack([_caption(title, width) for title in titles]), *rows)))
    return np.stack(pictures)


def enlargement(shape: Sequence[int]) -> int:
    """The factor by which frames (..., H, W) are enlarged for an animation."""
    return -(-LARGE // max(shape[-2:]))


def synthesis_strip(
    rows: dict[str, list[NDArray[np.uint8]]], title: str, sequences: int = 3, frames: int = 16
) -> Figure:
    """The first frames of some sequences (F, C, H, W), in rows: truth, model and so on."""
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
    rows: dict[str, list[NDArray[np.uint8]]], sequences: int = DRAWN, frames: int = 64
) -> NDArray[np.uint8]:
    """Some sequences side by side, truth, model and so on below each other: uint8 (F, height, width, 3).

    A shorter sequence starts again. Frames are enlarged to whole multiples of their size.
    """
    several = next(iter(rows.values()))
    chosen, factor = spread(sequences, len(several)), enlargement(several[0].shape)
    length = min(frames, max(len(sequence) for several in rows.values() for sequence in several))
    pictures = []
    for t in range(length):
        lines = []
        for name, several in rows.items():
            tiles = np.hstack([_tile(several[s][t % len(several[s])], GREY, factor) for s in chosen])
            text = f"{name} {t}" if name != "truth" else name
            lines += [_caption(text, tiles.shape[1]), tiles]
        pictures.append(np.vstack(lines))
    return np.stack(pictures)


def _tile(frame: NDArray[np.uint8], colour: tuple[int, int, int], factor: int) -> NDArray[np.uint8]:
    """A frame (C, H, W), enlarged without smoothing, within a border: (H', W', 3)."""
    large = frame.transpose(1, 2, 0).repeat(factor, axis=0).repeat(factor, axis=1)
    large = np.broadcast_to(large, (*large.shape[:2], 3))
    return np.asarray(cv2.copyMakeBorder(large, *(BORDER,) * 4, cv2.BORDER_CONSTANT, value=colour), np.uint8)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """Text in white on black: (HEADER, width, 3)."""
    picture = np.zeros((HEADER, width, 3), np.uint8)
    cv2.putText(picture, text, (6, 3 * HEADER // 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
