"""Draw pictures of the documentation: ``make figures`` writes them into docs/images.

The figures of the concepts need no data. The moving picture of the home page shows predictions of a trained model, so
run ``kedro run --pipelines=ile`` first; without predictions, the picture stays as it is.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
CLIPS = ROOT / "data/03_primary/moving_symbols/test/frames.npy"
MADE = ROOT / "data/07_model_output/ile/moving_symbols"
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#888888"
Values = NDArray[np.float64]


def main() -> None:
    """Draw all of them."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    IMAGES.mkdir(exist_ok=True)
    drawn = {
        "moving_is_turning": moving_is_turning(),
        "eigenvalues": eigenvalues(),
        "embedding": embedding(),
        "kalman_filter": kalman_filter(),
    }
    for name, figure in drawn.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=110)
    if MADE.is_dir():
        moving_picture(IMAGES / "prediction.gif")
    else:
        print(f"{MADE} is missing: run kedro run --pipelines=ile first, to draw docs/images/prediction.gif again.")


def moving_is_turning() -> Figure:
    """A bump that moves: its pixels rise and fall, its Fourier coefficients turn by the same angle in every frame."""
    side, frames, speed = 64, 17, 4
    places = np.arange(side)
    distance = (places - 8 - speed * np.arange(frames)[:, None] + side / 2) % side - side / 2
    film = np.exp(-0.5 * (distance / 3.5) ** 2)  # (T, side)
    coefficients = np.fft.fft(film, axis=1)
    figure = Figure(figsize=(9.5, 2.9), layout="constrained")
    pictures, pixels, plane = figure.subplots(1, 3)
    pictures.imshow(film, cmap="gray", aspect="auto", interpolation="nearest")
    pictures.set(title="a bump moves 4 pixels per frame", xlabel="pixel", ylabel="frame")
    for place, colour in ((20, BLUE), (36, ORANGE), (52, GREEN)):
        pixels.plot(film[:, place], "o-", ms=3, color=colour, label=f"pixel {place}")
    pixels.set(title="a pixel: no simple rule", xlabel="frame", ylabel="brightness")
    pixels.legend(frameon=False, loc="upper right", fontsize=7)
    for frequency, colour in ((1, BLUE), (2, ORANGE)):
        turned = coefficients[:, frequency]
        plane.plot(turned.real, turned.imag, "o-", ms=3, lw=0.8, color=colour, label=f"frequency {frequency}")
    plane.set(title="a Fourier coefficient: it turns", xlabel="real part", ylabel="imaginary part", aspect="equal")
    plane.legend(frameon=False, loc="center", fontsize=7)
    return figure


def eigenvalues() -> Figure:
    """Four eigenvalues in the complex plane, and what each does over time."""
    shown = {
        "on the circle: turns without end": (np.exp(0.5j), BLUE),
        "inside: turns and decays": (0.93 * np.exp(1.1j), ORANGE),
        "inside, real: only decays": (0.8 + 0j, GREEN),
        "outside: grows without limit": (1.06 * np.exp(0.25j), GREY),
    }
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    grid = figure.add_gridspec(4, 2, width_ratios=(1, 1.7))
    plane = figure.add_subplot(grid[:, 0])
    turn = np.linspace(0, 2 * np.pi, 200)
    plane.plot(np.cos(turn), np.sin(turn), color="black", lw=0.8)
    axes = [figure.add_subplot(grid[row, 1]) for row in range(4)]
    steps = np.arange(31)
    for line, (name, (value, colour)) in zip(axes, shown.items(), strict=True):
        plane.plot(
            [value.real] * 2 if value.imag else value.real,
            [value.imag, -value.imag] if value.imag else value.imag,
            "o",
            color=colour,
        )
        line.plot(steps, (value**steps).real, "o-", ms=2.5, color=colour)
        line.set_title(name, fontsize=8, loc="left", pad=2)
        line.axhline(0, color=GREY, lw=0.4)
        line.tick_params(labelbottom=line is axes[-1])
    axes[-1].set_xlabel("step t; the curve is the real part of $λ^t$")
    plane.set(title="eigenvalues λ and the unit circle", xlabel="real part", ylabel="imaginary part", aspect="equal")
    return figure


def embedding() -> Figure:
    """An invertible map that bends the plane: a bent orbit on one side is a circle on the other."""
    time = np.arange(25)
    circle = 1.1 * np.stack([np.cos(0.25 * time), np.sin(0.25 * time)], axis=-1)
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    frames, middle, codes = figure.subplots(1, 3, width_ratios=(1, 0.25, 1))
    middle.set_axis_off()
    middle.text(0.5, 0.5, "encode →\n\n← decode", ha="center", va="center", fontsize=11)
    lines = np.linspace(-1.6, 1.6, 17)
    fine = np.linspace(-1.6, 1.6, 80)
    for value in lines:
        for grid in (np.stack([np.full(80, value), fine], -1), np.stack([fine, np.full(80, value)], -1)):
            codes.plot(*grid.T, color="#cccccc", lw=0.5)
            frames.plot(*bent(grid).T, color="#cccccc", lw=0.5)
    for axes, points, title in (
        (frames, bent(circle), "frames: the orbit is bent, the speed uneven"),
        (codes, circle, "embeddings: every step is the same rotation"),
    ):
        orbit(axes, points, title)
    assert np.allclose(straightened(bent(circle)), circle)
    return figure


def bent(points: Values) -> Values:
    """Two affine couplings: each scales and shifts one coordinate by functions of the other."""
    first, second = points.T
    second = second * np.exp(0.5 * np.sin(1.5 * first)) + 0.6 * first**2
    first = first * np.exp(0.35 * np.tanh(second - 0.8)) + 0.5 * np.sin(second)
    return np.stack([first, second], axis=-1)


def straightened(points: Values) -> Values:
    """The inverse of ``bent``: the same functions, in the other order."""
    first, second = points.T
    first = (first - 0.5 * np.sin(second)) / np.exp(0.35 * np.tanh(second - 0.8))
    second = (second - 0.6 * first**2) / np.exp(0.5 * np.sin(1.5 * first))
    return np.stack([first, second], axis=-1)


def orbit(axes: Axes, points: Values, title: str) -> None:
    """Points in the order of time, and an arrow from each to the next."""
    steps = np.diff(points, axis=0)
    axes.quiver(*points[:-1].T, *steps.T, angles="xy", scale_units="xy", scale=1, width=0.004, color=BLUE)
    axes.plot(*points.T, "o", ms=3.5, color=BLUE)
    axes.set(title=title, xticks=[], yticks=[], aspect="equal")


def kalman_filter() -> Figure:
    """A turning state that is seen with noise, then not seen, then forecast: mean and two standard deviations."""
    random = np.random.default_rng(3)
    angle, steps, noise, process = 0.35, 45, 0.35, 0.008
    turn = 0.995 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    true, state = [], np.array([1.2, 0.0])
    for _ in range(steps):
        true.append(state)
        state = turn @ state + np.sqrt(process) * random.normal(size=2)
    seen = np.array(true)[:, 0] + noise * random.normal(size=steps)
    observed = np.ones(steps, bool)
    observed[16:22] = observed[32:] = False
    mean, covariance, means, deviations = np.zeros(2), np.eye(2), [], []
    for value, there in zip(seen, observed, strict=True):
        if there:
            gain = covariance[:, 0] / (covariance[0, 0] + noise**2)
            mean = mean + gain * (value - mean[0])
            covariance = covariance - np.outer(gain, covariance[0])
        means.append(mean[0])
        deviations.append(np.sqrt(covariance[0, 0]))
        mean, covariance = turn @ mean, turn @ covariance @ turn.T + process * np.eye(2)
    estimate, band, times = np.array(means), 2 * np.array(deviations), np.arange(steps)
    figure = Figure(figsize=(9.5, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(times, estimate - band, estimate + band, color=BLUE, alpha=0.18, lw=0)
    axes.plot(times, np.array(true)[:, 0], color="black", lw=1, label="truth")
    axes.plot(times, estimate, color=BLUE, label="filter, ± 2 standard deviations")
    axes.plot(times[observed], seen[observed], "o", ms=3.5, color=ORANGE, label="what is seen")
    for start, end, name in ((16, 21, "missing"), (32, steps - 1, "forecast")):
        axes.axvspan(start - 0.5, end + 0.5, color=GREY, alpha=0.12, lw=0)
        axes.text((start + end) / 2, 2.35, name, ha="center", color="#555555")
    axes.set(xlabel="frame", ylabel="first number of the state", ylim=(-2.3, 2.7), xlim=(0, steps - 1))
    axes.legend(frameon=False, ncols=3, loc="lower left", fontsize=8)
    return figure


def moving_picture(place: Path, shown: int = 5, side: int = 96) -> None:
    """Clips that a model has never seen, above its predictions of their last frames."""
    facts = json.loads((MADE.parents[2] / "08_reporting/ile/moving_symbols/scores.json").read_text())
    context, horizon = facts["context"], facts["horizon"]
    predicted = np.load(MADE / "predictions.npy")[:shown]
    frames = np.load(CLIPS)[:shown].astype(np.float32) / 255
    made = np.concatenate((frames[:, :context], predicted), axis=1)
    pictures = [_two_rows(frames[:, t], made[:, t], side, t >= context) for t in range(context + horizon)]
    waits = [120] * context + [400] * (horizon - 1) + [1500]
    pictures[0].save(place, save_all=True, append_images=pictures[1:], duration=waits, loop=0, optimize=True)


def _two_rows(truth: NDArray[Any], made: NDArray[Any], side: int, predicted: bool) -> Image.Image:
    """Frames (N, C, H, W) side by side, the truth above; orange between the rows, once the model predicts."""
    factor = side // truth.shape[-1]
    rows = [np.rint(255 * np.concatenate(list(clips[:, 0].clip(0, 1)), axis=1)) for clips in (truth, made)]
    enlarged = [np.repeat(np.repeat(row, factor, 0), factor, 1)[..., None].repeat(3, 2) for row in rows]
    line = np.full((4, *enlarged[0].shape[1:]), (213, 94, 0) if predicted else (120, 120, 120))
    return Image.fromarray(np.concatenate((enlarged[0], line, enlarged[1])).astype(np.uint8)).quantize(64)


if __name__ == "__main__":
    main()
