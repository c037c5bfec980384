"""Scores of the tasks on Moving Symbols with ground truth, each beside a plain alternative.

    python benchmarks/tasks.py --model data/06_models/ile/moving_symbols
    python benchmarks/tasks.py --actions-model <folder> --plain-model <folder> --only what_if
    python benchmarks/tasks.py --only spectrum          (trains for two minutes)
    python benchmarks/tasks.py --only surprise --split validation

The symbols are those of the split, which the model has not seen, drawn and moved as in the default dataset.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import linear_video
from linear_video.clips.base import Split
from linear_video.clips.moving_symbols import MovingSymbolsSettings, simulate
from linear_video.clips.planted_events import EVENTS, planted
from linear_video.clips.readers.symbols import Symbol, load_symbols
from linear_video.common.markup import markdown_table
from linear_video.evaluation.anomalies import auroc
from linear_video.evaluation.scores import confidence95, score_frames
from linear_video.models.registry import build, describe
from linear_video.tasks.alarms import calibrate, forecast_error
from linear_video.tasks.trained import TrainedModel
from linear_video.training.fit import TrainingSettings, fit

FRAMES, CONTEXT = 15, 10
SETTINGS = MovingSymbolsSettings(symbol_size=8, frames=FRAMES, render_size=16, frame_size=16, speed=(0.5, 1.0))
SEED = 7  # different clips from the dataset's

Clip = NDArray[np.uint8]  # (T, h, w, 1)
Way = Callable[[Clip], NDArray[np.uint8]]


def clips_of(settings: MovingSymbolsSettings, symbols: list[Symbol], split: Split, count: int) -> NDArray[np.uint8]:
    """Simulated clips (N, T, h, w, 1)."""
    return simulate(settings, symbols, split, SEED, range(count)).frames.transpose(0, 1, 3, 4, 2)


def psnr_row(name: str, made: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, str | float]:
    """Mean PSNR of frames (N, K, h, w, 1) with its 95 % interval, PSNR of the mean squared error, and SSIM."""
    pair = [values.transpose(0, 1, 4, 2, 3) / 255 for values in (made, truth)]
    psnr, ssim = score_frames(*pair)
    pooled = -10 * np.log10(np.square(pair[0] - pair[1]).mean())
    half = float(confidence95(psnr.mean(axis=1)[:, None])[0])
    return {
        "": name,
        "PSNR / dB": f"{psnr.mean():.2f} ± {half:.2f}",
        "of mean error": f"{pooled:.2f}",
        "SSIM": f"{ssim.mean():.3f}",
    }


def interpolated(clip: Clip, missing: list[int], nearest: bool) -> NDArray[np.uint8]:
    """Missing frames from linear interpolation of their neighbours, or from the nearest frame."""
    there = np.array([t for t in range(len(clip)) if t not in missing])
    made = []
    for t in missing:
        if nearest:
            made.append(clip[there[np.abs(there - t).argmin()]].astype(float))
            continue
        weights = [np.interp(t, there, row) for row in np.eye(len(there))]
        made.append(np.tensordot(weights, clip[there], 1))
    return np.rint(made).astype(np.uint8)


def fill_in(
    trained: TrainedModel, symbols: list[Symbol], split: Split, count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Fill in three of fifteen frames."""
    clips = clips_of(SETTINGS, symbols, split, count)
    random = np.random.default_rng(SEED)
    places = {
        "at random": [sorted(random.choice(FRAMES, 3, replace=False).tolist()) for _ in clips],
        "in the middle": [[6, 7, 8]] * count,
        "at the end": [[12, 13, 14]] * count,
    }
    for name, missing in places.items():
        truth = np.stack([clip[gone] for clip, gone in zip(clips, missing, strict=True)])

        def model(clip: Clip, gone: list[int]) -> NDArray[np.uint8]:
            return np.stack(list(trained.fill_in(clip, gone)))[gone]

        ways = {
            trained.name: model,
            "linear interpolation": lambda clip, gone: interpolated(clip, gone, nearest=False),
            "nearest frame": lambda clip, gone: interpolated(clip, gone, nearest=True),
        }
        rows = [
            psnr_row(way, np.stack([of(clip, gone) for clip, gone in zip(clips, missing, strict=True)]), truth)
            for way, of in ways.items()
        ]
        yield f"Fill in 3 of {FRAMES} frames, {name}", pd.DataFrame(rows)


def retime(
    trained: TrainedModel, symbols: list[Symbol], split: Split, count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Double the frames: half steps of the frame rate of the training, and footage at half that rate."""
    slow = replace(SETTINGS, frames=2 * FRAMES - 1, speed=(SETTINGS.speed[0] / 2, SETTINGS.speed[1] / 2))
    rates = {
        "half steps of the training's frame rate": (slow, 1.0),
        "footage at half the training's frame rate": (replace(SETTINGS, frames=2 * FRAMES - 1), 2.0),
    }
    for name, (settings, step) in rates.items():
        clips = clips_of(settings, symbols, split, count)
        seen, truth = clips[:, ::2], clips[:, 1::2]
        if step == 1:
            made = np.stack([np.stack(list(trained.retime(clip, 2.0)))[1::2] for clip in seen])
        else:  # every other frame of the model's time is missing
            gaps = list(range(1, clips.shape[1], 2))
            made = np.stack([np.stack(list(trained.fill_in(clip, gaps)))[1::2] for clip in clips])
        mean = np.stack([interpolated(clip, list(range(1, len(clip), 2)), nearest=False) for clip in clips])
        nearest = seen[:, :-1]
        rows = [
            psnr_row(trained.name, made, truth),
            psnr_row("mean of both frames", mean, truth),
            psnr_row("cubic interpolation", cubic(seen), truth),
            psnr_row("frame before", nearest, truth),
        ]
        yield f"Retime x2, {name}", pd.DataFrame(rows)


def cubic(clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames half-way between two, by cubic interpolation of four frames; at the ends, the mean of two."""
    o = clips.astype(float)
    middle = (o[:, :-1] + o[:, 1:]) / 2
    middle[:, 1:-1] = (9 * (o[:, 1:-2] + o[:, 2:-1]) - (o[:, :-3] + o[:, 3:])) / 16
    return np.asarray(np.rint(middle.clip(0, 255)), np.uint8)


def hindcast(
    trained: TrainedModel, symbols: list[Symbol], split: Split, count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Hindcast three frames before ten."""
    clips = clips_of(replace(SETTINGS, frames=13), symbols, split, count)
    made = np.stack([trained.hindcast(clip[3:], 3) for clip in clips])
    rows = [
        psnr_row(trained.name, made, clips[:, :3]),
        psnr_row("first frame", np.repeat(clips[:, 3:4], 3, axis=1), clips[:, :3]),
    ]
    yield "Hindcast 3 frames", pd.DataFrame(rows)


def sample(
    trained: TrainedModel, symbols: list[Symbol], split: Split, count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Compare the spread of futures with the error of the prediction: root mean squares over pixels and clips."""
    clips = clips_of(SETTINGS, symbols, split, count)
    frames, truth, horizon = clips[:, :CONTEXT], clips[:, CONTEXT:] / np.float32(255), FRAMES - CONTEXT

    def root(values: NDArray[np.float32]) -> list[str]:
        return [f"{value:.3f}" for value in np.sqrt(values.mean(axis=(0, 2, 3, 4)))]

    predicted = np.stack([trained.extrapolate(clip, horizon) for clip in frames]) / np.float32(255)
    rows = {"error of the prediction": root(np.square(predicted - truth))}
    for noise in (0.0, 1.0):
        drawn = [trained.sample(clip, horizon, 32, noise, seed) for seed, clip in enumerate(frames)]
        rows[f"spread, noise {noise:g}"] = root(np.stack([(of / np.float32(255)).var(axis=0) for of in drawn]))
    columns = [f"frame {lead}" for lead in range(1, horizon + 1)]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("").reset_index()
    yield "Spread of 32 futures, root mean square over pixels and clips", table


# --- surprise ---------------------------------------------------------------------------------------------------------

LENGTH, FIRST, HORIZON = 30, 16, 5  # frames of a clip; events come from frame FIRST on


def planted_clip(event: str, symbols: list[Symbol], random: np.random.Generator) -> tuple[Clip, int]:
    """A clip in which something happens, and the first frame that shows it."""
    clip, moment = planted(event, replace(SETTINGS, frames=LENGTH), symbols, random, FIRST, HORIZON)
    return clip.transpose(0, 2, 3, 1), moment


def surprise(
    trained: TrainedModel, symbols: list[Symbol], split: Split, count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """How well planted events are distinguished from ordinary frames, by the area under the ROC curve."""
    random = np.random.default_rng(SEED)
    ordinary = [planted_clip("none", symbols, random)[0] for _ in range(2 * count)]
    # Ordinary values are calibrated on symbols from the model's training, in clips that are not scored.
    known = load_symbols("digits", Path(), SETTINGS.symbol_size, "validation" if split == "test" else "train")
    calibration = calibrate(
        [trained.surprise(planted_clip("none", known, random)[0], HORIZON) for _ in range(max(20, count // 2))], 0.01
    )

    def scores(clip: Clip) -> dict[str, NDArray[np.float64]]:
        """Scores of the frames from FIRST on."""
        found = trained.surprise(clip, HORIZON)
        step = np.diff(clip / 255, axis=0, prepend=0)
        values = {
            "forecast error": forecast_error(found.errors, calibration.errors),
            "exact likelihood": found.likelihood,
            "frame difference": np.abs(step).mean(axis=(1, 2, 3)),
            "last-frame error": np.square(step).mean(axis=(1, 2, 3)),
            "alarm": calibration.alarms(found).astype(float),
        }
        return {name: of_frames[FIRST:] for name, of_frames in values.items()}

    quiet = [scores(clip) for clip in ordinary]
    still = {name: np.concatenate([values[name] for values in quiet]) for name in quiet[0]}
    most = {name: [values[name].max() for values in quiet] for name in quiet[0]}
    rows: dict[str, list[dict[str, str]]] = {"clip": [], "frame": [], "alarms": []}
    rows["alarms"].append({"": "ordinary: share of frames", "with an alarm": f"{100 * still['alarm'].mean():.1f} %"})
    loud: dict[str, dict[str, list[float]]] = {part: {name: [] for name in still} for part in ("clip", "frame")}
    for event in (*EVENTS, "all"):
        if event != "all":
            cases = [planted_clip(event, symbols, random) for _ in range(count)]
            found = [(scores(clip), moment - FIRST) for clip, moment in cases]
            now = {
                "clip": {name: [values[name].max() for values, _ in found] for name in still},
                "frame": {name: [v for values, t in found for v in values[name][t : t + HORIZON]] for name in still},
            }
            noticed = np.mean([values["alarm"][t : t + HORIZON].any() for values, t in found])
            rows["alarms"].append({"": f"{event}: share of clips", "with an alarm": f"{100 * noticed:.0f} %"})
            for part, of_part in now.items():
                for name, values in of_part.items():
                    loud[part][name] += values
        else:
            now = loud
        for part, against in (("clip", most), ("frame", still)):
            areas = {name: f"{area(against[name], now[part][name]):.3f}" for name in still if name != "alarm"}
            rows[part].append({"": event, **areas})
    yield "Planted events, area under the ROC curve, per clip", pd.DataFrame(rows["clip"])
    title = f"Planted events, area under the ROC curve, per frame (the {HORIZON} from the event on, and ordinary clips)"
    yield title, pd.DataFrame(rows["frame"])
    yield f"Alarms within {HORIZON} frames of an event, at a false-alarm rate of 1 %", pd.DataFrame(rows["alarms"])


def area(ordinary: NDArray[np.float64] | list[float], planted: NDArray[np.float64] | list[float]) -> float:
    """Probability that something planted scores higher than something ordinary."""
    values = np.concatenate((ordinary, planted))
    found = auroc(np.arange(len(values)) >= len(ordinary), values) if np.isfinite(values).all() else None
    return float("nan") if found is None else found


# --- actions ----------------------------------------------------------------------------------------------------------


def what_if(
    with_actions: TrainedModel, without: TrainedModel | None, symbols: list[Symbol], split: Split, count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Score predicted frames from a push on, by a model that knows the pushes, and by models that do not."""
    pushed = simulate(replace(SETTINGS, pushes=(1, 1)), symbols, split, SEED, range(6 * count))
    assert pushed.actions is not None
    moment = np.abs(pushed.actions).max(axis=2).argmax(axis=1)
    chosen = np.flatnonzero((moment >= CONTEXT) & (moment < CONTEXT + 3))[:count]
    clips, actions, moment = pushed.frames[chosen].transpose(0, 1, 3, 4, 2), pushed.actions[chosen], moment[chosen]
    horizon = FRAMES - CONTEXT

    def after(made: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """The three frames from the push on, of each clip's predicted frames."""
        return [frames[t - CONTEXT : t - CONTEXT + 3] for frames, t in zip(made, moment, strict=True)]

    truth = np.stack(after(list(clips[:, CONTEXT:])))
    seen = list(clips[:, :CONTEXT])
    ways = {
        "ile that knows the pushes": [
            with_actions.what_if(clip, horizon, action) for clip, action in zip(seen, actions, strict=True)
        ],
        "the same, told of none": [with_actions.extrapolate(clip, horizon) for clip in seen],
        "last frame": [np.repeat(clip[-1:], horizon, axis=0) for clip in seen],
    }
    if without is not None:
        ways["ile trained without actions"] = [without.extrapolate(clip, horizon) for clip in seen]
    rows = [psnr_row(name, np.stack(after(made)), truth) for name, made in ways.items()]
    yield f"Three frames from a push on ({len(chosen)} clips)", pd.DataFrame(rows)


# --- spectrum ---------------------------------------------------------------------------------------------------------

FPS, FLASH, SWING = 25.0, 2.0, 0.7  # Hz


def oscillating(symbols: list[Symbol], frames: int) -> Clip:
    """A symbol whose brightness goes up and down, above one that swings from side to side: (T, 16, 16, 1)."""
    import cv2

    seconds = np.arange(frames) / FPS
    above, below = (symbols[k].planes[..., 0] for k in (3, 11))
    pictures = np.zeros((frames, 16, 16), np.float32)
    brightness = 0.5 + 0.45 * np.sin(2 * np.pi * FLASH * seconds)
    pictures[:, : above.shape[0], : above.shape[1]] += above * brightness[:, None, None]
    for picture, moment in zip(pictures, seconds, strict=True):
        left = 8 + 3.5 * np.sin(2 * np.pi * SWING * moment) - below.shape[1] / 2
        picture += cv2.warpAffine(below, np.array([[1, 0, left], [0, 1, 8.5]]), (16, 16))
    return np.asarray(np.rint(255 * pictures.clip(0, 1)), np.uint8)[..., None]


def spectrum(steps: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Train an ILE on a video of known frequencies, and read them off its modes."""
    video = oscillating(load_symbols("digits", Path(), 7, "test"), 800)
    frames = video.transpose(0, 3, 1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(frames, 60, axis=0).transpose(0, 4, 1, 2, 3)
    settings = {
        "dynamics": "dense", "state_dimension": 64, "eigenvalue_angle": (0.0, 60.0),
        "blocks": 2, "first_squeezes": 2, "couplings": 5, "hidden_channels": 32,
        "noise": 0.02, "profile_weight": 0.0, "forecast_weight": 1.0, "forecast_context": 40,
        "prior_precision": 0.2, "fading_memory": 0.95,
    }  # fmt: skip
    training = TrainingSettings(
        steps=steps, clips_per_step=4, learning_rate=4e-3,
        learning_rates={"prior.observation": 1e-2, "prior.theta": 1e-3},
        schedule="cosine", warmup_steps=min(50, steps // 10), gradient_norm=20, weight_average=0.998,
        validate_every=min(250, steps), threads=1, accelerator="cpu", devices=1, precision="32-true", strategy="auto",
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = build("ile", (1, 16, 16), settings)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, windows[:500], windows[600:], training, 0, Path(folder), {})
    trained = TrainedModel(model, describe("ile", model))
    table = trained.spectrum(video, FPS, window=100).table
    turning = table[table["frequency_hz"] > 0.01].head(6)
    known = {
        "flash": FLASH,
        **{f"{'swing' if k == 1 else f'swing, {k} times'}": k * SWING for k in range(1, 7)},
    }
    rows = []
    mode: Any
    for mode in turning.itertuples():
        name, truth = min(known.items(), key=lambda item: abs(item[1] - mode.frequency_hz))
        error = mode.frequency_hz / truth - 1
        rows.append(
            {
                "energy": f"{100 * mode.energy:.1f} %",
                "frequency / Hz": f"{mode.frequency_hz:.4f}",
                "truth": f"{name}: {truth:.1f}",
                "error": f"{100 * error:+.2f} %",
            }
        )
    yield "Strongest modes that turn, in a video of known frequencies", pd.DataFrame(rows)


# --- examples ---------------------------------------------------------------------------------------------------------


def write_examples(folder: Path) -> None:
    """Footage to try the pipeline ``predict`` with: see docs/how_to/own_footage.md."""
    folder.mkdir(parents=True, exist_ok=True)
    symbols = load_symbols("digits", Path(), SETTINGS.symbol_size, "test")
    long = replace(SETTINGS, frames=120)
    np.save(folder / "bounce.npy", clips_of(replace(SETTINGS, frames=60), symbols, "test", 1)[0, ..., 0])
    np.save(folder / "ordinary.npy", clips_of(long, symbols, "test", 12)[2:, ..., 0])
    first, other, jumped = (clips_of(long, [symbols[k], symbols[k]], "test", 2)[..., 0] for k in (0, 7, 0))
    events = first[0].copy()
    events[40:] = other[0][40:]  # becomes another digit
    events[70:80] = events[69]  # stands still
    events[80:] = jumped[1][80:]  # goes on elsewhere
    np.save(folder / "events.npy", events)
    np.save(folder / "oscillating.npy", oscillating(load_symbols("digits", Path(), 7, "test"), 800)[..., 0])
    pushed = simulate(replace(SETTINGS, frames=CONTEXT), symbols, "test", SEED, [5]).frames[0, :, 0]
    np.save(folder / "before_a_push.npy", pushed)
    pd.DataFrame({"frame": [CONTEXT], "x": [0.0], "y": [-1.0]}).to_csv(folder / "push.csv", index=False)


PARTS = {"fill_in": fill_in, "retime": retime, "hindcast": hindcast, "sample": sample, "surprise": surprise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="data/06_models/ile/moving_symbols", help="folder of a trained model")
    parser.add_argument("--actions-model", help="folder of one trained with --env=pushes, for what_if")
    parser.add_argument("--plain-model", help="folder of one trained likewise, but with actions=0")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3000, help="of the training for spectrum")
    parser.add_argument("--only", choices=[*PARTS, "what_if", "spectrum"], nargs="*")
    parser.add_argument("--examples", type=Path, help="only write some footage to try things with into this folder")
    arguments = parser.parse_args()
    if arguments.examples:
        write_examples(arguments.examples)
        return
    symbols = load_symbols("digits", Path(), SETTINGS.symbol_size, arguments.split)
    for part in arguments.only or [*PARTS, *(["what_if"] if arguments.actions_model else [])]:
        if part == "spectrum":
            results = spectrum(arguments.steps)
        elif part == "what_if":
            if arguments.actions_model is None:
                parser.error("what_if needs --actions-model.")
            plain = linear_video.load(arguments.plain_model, method="model") if arguments.plain_model else None
            pushed = linear_video.load(arguments.actions_model, method="model")
            results = what_if(pushed, plain, symbols, arguments.split, arguments.clips)
        else:
            results = PARTS[part](
                linear_video.load(arguments.model, method="model"), symbols, arguments.split, arguments.clips
            )
        for title, table in results:
            print(f"\n### {title}\n\n{markdown_table(table)}", flush=True)


if __name__ == "__main__":
    main()
