"""A trained model, and what it can do with footage of any size and length."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linear_video.errors import InputError
from linear_video.models.checkpoint import load_checkpoint, load_config
from linear_video.models.contract import MODELS
from linear_video.models.linear_prior import Projected
from linear_video.tasks.parts import Frame, Parts, to_frame
from linear_video.tasks.settings import Fit

GREY_LEVELS = math.log2(255)  # bits that a density of values in [0, 1] is short of one of grey values
BATCH = 16  # frames that are read and encoded at once
PARTS_AT_ONCE = 2048  # of all frames together
# What a model must offer for a task, see ``models.contract.VideoModel``.
NEEDS = {
    "extrapolate": "predict",
    "hindcast": "interpolate",
    "fill_in": "interpolate",
    "retime": "interpolate",
    "denoise": "trajectory",
    "surprise": "predict",
    "spectrum": "mode_energy",
    "sample": "futures",
    "what_if": "predict",
}


class Surprises(NamedTuple):
    """How unlikely each of T frames is, given those before it; NaN where too few are before it."""

    likelihood: NDArray[np.float64]  # (T,), bits per value: exact (ILE), a bound (Dynamic VAE), NaN for other models
    errors: NDArray[np.float64]  # (T, horizon), mean squared error of the forecasts of it, 1, 2, ... frames before it


class Modes(NamedTuple):
    """The modes of a model's linear dynamics in a video."""

    table: pd.DataFrame  # a row each, strongest first: mode, frequency_hz, period_s, half_life_s, energy (share)
    frames: NDArray[np.uint8]  # (T, h, w, channels), the last window
    responses: NDArray[np.float32]  # (modes, T, h, w, channels), what that would lack without each of the strongest


class TrainedModel:
    """What ``linear_video.load`` gives.

    Footage is anything that gives frames when iterated: uint8 (h, w, 3) in red, green, blue, (h, w, 1) or (h, w), all
    of one size; an array (T, h, w, 3), or a generator. Frames of another size than the model's are resized, or tiled
    (``fit``); a model of grey frames sees the colours one by one. What goes over a whole video yields frames while it
    reads, in memory that does not grow with the video's length.

    Attributes:
        model: of ``models``.
        config: what the checkpoint says of it.
        fit: ``"resize"`` or ``"tile"``, see ``tasks.parts.Parts``.
        context: frames that the model sees, before the frames it gives; around them, so many on either side.
    """

    def __init__(
        self,
        model: nn.Module,
        config: dict[str, Any],
        fit: Fit = "resize",
        context: int = 10,
        device: str | None = None,
    ) -> None:
        if fit not in ("resize", "tile"):
            raise InputError(f"fit must be resize or tile, not {fit!r}.")
        if context < 2:
            raise InputError(f"context must be at least 2 frames, not {context}.")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model: Any = model.to(self.device)
        self.config, self.fit, self.context = config, fit, context

    @property
    def name(self) -> str:
        """Which kind of model: ile, dynamic_vae, lds, adversarial, last_frame."""
        return str(self.config["model"])

    def check(self, task: str) -> None:
        """Tell whether the model can do a task.

        Raises:
            InputError: if not; the message says which models can.
        """
        if not hasattr(self.model, NEEDS[task]):
            able = [name for name, (kind, _) in MODELS.items() if hasattr(kind, NEEDS[task])]
            raise InputError(f"{task}: the model {self.name} cannot do that; {' and '.join(able)} can.")
        if task == "what_if" and not getattr(self.model.settings, "actions", 0):
            raise InputError(
                "what_if: the model knows no actions; an ile can that was trained with the parameter actions, on clips "
                "that have some (kedro run --env=pushes --pipeline=ile)."
            )

    # --- the future and the past ------------------------------------------------------------------------------------

    def extrapolate(self, frames: Iterable[Frame], horizon: int) -> NDArray[np.uint8]:
        """The frames after the last one: (horizon, h, w, channels)."""
        self.check("extrapolate")
        footage, context = self._last(frames)
        return footage.joined(self.model.predict(context, horizon))

    def forecasts(self, frames: Iterable[Frame], horizon: int, step: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Of windows all over a video, ``step`` frames apart: number of the first frame to come, and the frames."""
        self.check("extrapolate")
        footage, seen = _Footage(frames, self), deque[Tensor](maxlen=self.context)
        for number, (_, parts) in enumerate(footage):
            seen.append(parts)
            if len(seen) == self.context and (number + 1 - self.context) % step == 0:
                yield number + 1, footage.joined(self.model.predict(torch.stack(list(seen), 1), horizon))
        footage.check_length(self.context)

    def what_if(self, frames: Iterable[Frame], horizon: int, actions: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """The frames after the last one under actions, of the last frames seen and those to come: (horizon, h, w, ...).

        ``actions`` are (context + horizon, m); zeros are no action.
        """
        self.check("what_if")
        values = self.model.settings.actions
        if actions.shape != (self.context + horizon, values):
            raise InputError(f"actions must be ({self.context + horizon}, {values}), not {actions.shape}.")
        footage, context = self._last(frames)
        known = torch.as_tensor(actions, dtype=torch.float32, device=self.device).expand(len(context), -1, -1)
        return footage.joined(self.model.predict(context, horizon, actions=known))

    def sample(
        self, frames: Iterable[Frame], horizon: int, count: int, noise: float = 1.0, seed: int = 0
    ) -> NDArray[np.uint8]:
        """Many futures, drawn as the model defines it: (count, horizon, h, w, channels)."""
        self.check("sample")
        footage, context = self._last(frames)
        drawn = self.model.futures(context, horizon, count, seed, noise)
        return np.stack([footage.joined(future) for future in drawn])

    def hindcast(self, frames: Iterable[Frame], horizon: int) -> NDArray[np.uint8]:
        """The frames before the first one: (horizon, h, w, channels), in order of time."""
        self.check("hindcast")
        footage = _Footage(frames, self)
        seen = [parts for _, (_, parts) in zip(range(self.context), footage, strict=False)]
        footage.check_length(self.context)
        projected = self.model.project(torch.stack(seen, 1))
        observed = torch.ones(len(seen), dtype=torch.bool, device=self.device)
        given = [self.model.interpolate(projected, observed, float(time))[1] for time in range(-horizon, 0)]
        return footage.joined(torch.stack(given, 1))

    def forgotten(self, horizon: int) -> pd.DataFrame:
        """Modes that ``hindcast`` leaves out, since they decay too quickly to be traced back so many frames."""
        self.check("hindcast")
        spectrum, lost = self.model.spectrum(), self.model.forgotten(horizon)
        columns = {"period_frames": spectrum.period[lost], "half_life_frames": spectrum.half_life[lost]}
        return pd.DataFrame({"mode": lost.nonzero().flatten().tolist(), **{k: v.tolist() for k, v in columns.items()}})

    # --- all over a video --------------------------------------------------------------------------------------------

    def fill_in(self, frames: Iterable[Frame], missing: Iterable[int]) -> Iterator[Frame]:
        """All frames, those numbered in ``missing`` replaced by what the others tell of them."""
        self.check("fill_in")
        gone = frozenset(missing)
        for window, number in self._windows(frames, gone):
            yield window.frame(number) if number not in gone else self._between(window, float(number))
        beyond = [number for number in gone if number >= window.footage.count]
        if beyond:
            raise InputError(f"missing names frame {min(beyond)}, but the footage has {window.footage.count} frames.")

    def retime(self, frames: Iterable[Frame], factor: float) -> Iterator[Frame]:
        """Frames at times 0, 1/factor, 2/factor, ..., in frames' time, up to the last frame."""
        self.check("retime")
        if not 0.1 <= factor <= 10:
            raise InputError(f"factor must be within [0.1, 10], not {factor}.")
        given = 0
        for window, number in self._windows(frames, frozenset()):
            last = number if window.footage.ended and number == window.footage.count - 1 else number + 1 - 1e-9
            while given / factor <= last + 1e-9:
                time = given / factor
                exact = abs(time - round(time)) < 1e-6
                yield window.frame(round(time)) if exact else self._between(window, time)
                given += 1

    def denoise(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Every frame as the trajectory that fits the frames around it best has it."""
        self.check("denoise")
        for window, number in self._windows(frames, frozenset()):
            times = torch.arange(window.length, dtype=torch.float64, device=self.device)
            now = times.new_tensor([number - window.first])
            weights = self.model.settings.fading_memory ** (times - now).abs()
            yield window.footage.joined(self.model.trajectory(window.projected, weights, times, now))[0]

    def surprise(self, frames: Iterable[Frame], horizon: int = 5) -> Surprises:
        """How unlikely each frame is, by its density, and by errors of its forecasts up to ``horizon`` frames before.

        The density is that of the frame as the model sees it, resized or tiled.
        """
        self.check("surprise")
        footage = _Footage(frames, self)
        past = self.context + horizon - 1
        kept: list[Tensor] = []  # of the frames before, at most ``past``
        likelihood: list[NDArray[np.float64]] = []
        errors: list[NDArray[np.float64]] = []
        for batch in footage.batches():
            clip = torch.stack([*kept, *(parts for _, parts in batch)], 1)  # (P, before + T, C, H, W)
            likelihood.append(self._likelihood(clip, len(kept)))
            errors.append(self._forecast_errors(clip, len(kept), horizon))
            kept = list(clip[:, -past:].unbind(1))
        footage.check_length(self.context)
        return Surprises(np.concatenate(likelihood), np.concatenate(errors))

    def _likelihood(self, clip: Tensor, before: int) -> NDArray[np.float64]:
        """Bits per value of the frames from number ``before`` on."""
        if not hasattr(self.model, "surprise"):
            return np.full(clip.shape[1] - before, np.nan)
        nats = torch.cat([self.model.surprise(piece, self.context) for piece in _pieces(clip)]).mean(0)[before:]
        return np.asarray(nats.cpu().numpy() / math.log(2) + GREY_LEVELS)

    def _forecast_errors(self, clip: Tensor, before: int, horizon: int) -> NDArray[np.float64]:
        """Mean squared errors of the forecasts of frames from number ``before`` on: (T, horizon)."""
        length = clip.shape[1]
        errors = np.full((length + horizon, horizon), np.nan)
        # The first frame that is forecast, of each window.
        ends = torch.arange(self.context, max(length, self.context), device=clip.device)
        if len(ends):
            sums = torch.zeros((len(ends), horizon), dtype=torch.float64, device=clip.device)
            for piece in _pieces(clip, horizon):
                forecast = self._forecasts(piece[:, :-1], horizon).flatten(3)  # (P, ends, horizon, C H W)
                for lead in range(horizon):
                    seen = ends[ends + lead < length]
                    error = forecast[:, : len(seen), lead] - piece[:, seen + lead].flatten(2)
                    sums[: len(seen), lead] += error.square().mean(2).sum(0)
            for lead in range(horizon):
                seen = ends[ends + lead < length]
                errors[(seen + lead).cpu().numpy(), lead] = (sums[: len(seen), lead] / len(clip)).cpu().numpy()
        return errors[before:length]

    def _forecasts(self, clip: Tensor, horizon: int) -> Tensor:
        """What follows each window of the context's length: (P, T - context + 1, horizon, C, H, W)."""
        if hasattr(self.model, "forecasts"):
            found: Tensor = self.model.forecasts(clip, self.context, horizon)
            return found
        windows = clip.unfold(1, self.context, 1).movedim(-1, 2)  # (P, ends, context, C, H, W)
        predicted: Tensor = self.model.predict(windows.flatten(0, 1), horizon)
        return predicted.reshape(*windows.shape[:2], *predicted.shape[1:])

    def spectrum(self, frames: Iterable[Frame], fps: float, window: int = 50, strongest: int = 6) -> Modes:
        """How much each mode moves in a video, the mean of windows of so many frames, and what the strongest do."""
        self.check("spectrum")
        footage, spectrum = _Footage(frames, self), self.model.spectrum()
        energies: list[Tensor] = []
        while batch := [item for _, item in zip(range(window), footage, strict=False)]:
            if energies and len(batch) < window:  # a shorter one would resolve less
                break
            seen = batch
            clip = torch.stack([parts for _, parts in seen], 1)
            energies += [self.model.mode_energy(piece).sum(0) / len(clip) for piece in _pieces(clip)]
        footage.check_length(2)
        energy = torch.stack(energies).sum(0)
        order = energy.argsort(descending=True)
        table = pd.DataFrame(
            {
                "mode": order.tolist(),
                "frequency_hz": (fps / spectrum.period[order]).tolist(),
                "period_s": (spectrum.period[order] / fps).tolist(),
                "half_life_s": (spectrum.half_life[order] / fps).tolist(),
                "energy": (energy / energy.sum())[order].tolist(),
            }
        )
        responses = self.model.mode_response(clip, order[:strongest].tolist())
        shown = np.stack([footage.joined(response, difference=True) for response in responses])
        return Modes(table, np.stack([frame for frame, _ in seen][: shown.shape[1]]), shown)

    # --- within -------------------------------------------------------------------------------------------------------

    def _last(self, frames: Iterable[Frame]) -> tuple["_Footage", Tensor]:
        """The last frames of footage, as the model sees them: (P, context, C, H, W)."""
        footage, seen = _Footage(frames, self), deque[Tensor](maxlen=self.context)
        for _, parts in footage:
            seen.append(parts)
        footage.check_length(self.context)
        return footage, torch.stack(list(seen), 1)

    def _between(self, window: "_Window", time: float) -> Frame:
        """The frame at a time, in which what the frames around it show is kept in full detail."""
        if not window.observed.any():
            raise InputError(
                f"all frames within {self.context} of frame {math.floor(time)} are missing; raise context, how many "
                "frames are seen."
            )
        weights, correction = self.model.interpolate(window.projected, window.observed, time - window.first)
        values = window.footage.parts.join(correction.cpu().numpy())
        for index in weights.nonzero().flatten().tolist():
            values = values + np.float32(weights[index] / 255) * window.frame(window.first + index)
        return to_frame(values)

    def _windows(self, frames: Iterable[Frame], missing: frozenset[int]) -> Iterator[tuple["_Window", int]]:
        """Every frame's number in turn, and a window of the frames around it."""
        window = _Window(self, _Footage(frames, self), missing)
        number = 0
        while window.move(number):
            yield window, number
            number += 1
        window.footage.check_length(2)


class _Footage:
    """Frames that are being read, checked, and made into parts: gives (frame, parts (P, C, H, W))."""

    def __init__(self, frames: Iterable[Frame], trained: TrainedModel) -> None:
        self.frames, self.trained = iter(frames), trained
        self.count, self.ended = 0, False
        self.parts: Parts

    def __iter__(self) -> Iterator[tuple[Frame, Tensor]]:
        return self

    def __next__(self) -> tuple[Frame, Tensor]:
        frame = next(self.frames, None)
        if frame is None:
            self.ended = True
            raise StopIteration
        if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or 0 in frame.shape:
            raise InputError(f"frames must be uint8 (h, w, 3), (h, w, 1) or (h, w), not {frame.dtype} {frame.shape}.")
        frame = frame.reshape(*frame.shape[:2], -1)
        if not self.count:
            self.parts = Parts(tuple(self.trained.config["frame_shape"]), frame.shape, self.trained.fit)
        elif frame.shape != self.parts.size:
            raise InputError(f"frame {self.count} is {frame.shape}, the ones before {self.parts.size}.")
        self.count += 1
        return frame, torch.from_numpy(self.parts.split(frame)).to(self.trained.device)

    def batches(self) -> Iterator[list[tuple[Frame, Tensor]]]:
        """Several frames at once."""
        while batch := [item for _, item in zip(range(BATCH), self, strict=False)]:
            yield batch

    def check_length(self, least: int) -> None:
        """Raise InputError if fewer frames have come than are needed."""
        if self.count < least:
            frames = "1 frame" if self.count == 1 else f"{self.count} frames"
            raise InputError(f"the footage has {frames}, but this needs at least {least} (parameter context).")

    def joined(self, clip: Tensor, difference: bool = False) -> NDArray[Any]:
        """Frames of parts (P, T, C, H, W): uint8 (T, h, w, channels); differences stay float32."""
        frames = [self.parts.join(parts) for parts in clip.movedim(1, 0).cpu().numpy()]
        return np.stack(frames if difference else [to_frame(frame) for frame in frames])


class _Window:
    """Frames around the one that is being made, and what the model needs of them."""

    def __init__(self, trained: TrainedModel, footage: _Footage, missing: frozenset[int]) -> None:
        self.trained, self.footage, self.missing = trained, footage, missing
        self.first = 0  # number of the first frame kept
        self.length = 0  # of the window; what was read beyond it does not count yet
        self.frames: deque[Frame] = deque()
        self.batches = footage.batches()
        self._projected: Projected  # of all frames kept

    @property
    def projected(self) -> Projected:
        """What the model needs of the window's frames."""
        return self._projected.first(self.length)

    @property
    def observed(self) -> Tensor:
        """Which of the frames are there, bool (length,)."""
        there = [number not in self.missing for number in range(self.first, self.first + self.length)]
        return torch.tensor(there, device=self.trained.device)

    def frame(self, number: int) -> Frame:
        return self.frames[number - self.first]

    def move(self, number: int) -> bool:
        """Have the frames around one at hand; False if there is none of that number."""
        reach = self.trained.context
        while self.footage.count <= number + reach:
            batch = next(self.batches, None)
            if batch is None:
                break
            projected = self.trained.model.project(torch.stack([parts for _, parts in batch], 1))
            self._projected = self._projected.followed_by(projected) if self.frames else projected
            self.frames.extend(frame for frame, _ in batch)
        passed = max(0, number - reach - self.first)
        if passed:
            self._projected = self._projected.from_frame(passed)
            for _ in range(passed):
                self.frames.popleft()
            self.first += passed
        self.length = min(self.footage.count, number + reach + 1) - self.first
        return number < self.footage.count


def _pieces(clip: Tensor, times: int = 1) -> tuple[Tensor, ...]:
    """Some parts of a clip (P, T, C, H, W) at a time, lest tiles fill the memory; fewer, if each gives more frames."""
    pieces: tuple[Tensor, ...] = clip.split(max(1, PARTS_AT_ONCE // (clip.shape[1] * times)))
    return pieces


def load_model(source: str | Path, fit: Fit = "resize", context: int = 10, device: str | None = None) -> TrainedModel:
    """Read a trained model from its folder, or from where MLflow keeps one; see ``linear_video.load``."""
    folder = Path(source)
    if isinstance(source, str) and ":/" in source:
        folder = _from_mlflow(source)
    if (folder / "MLmodel").is_file():  # of the artifacts that MLflow keeps with a model, the one that is a checkpoint
        folder = next((path.parent for path in folder.glob("artifacts/*/config.json")), folder)
    return TrainedModel(load_checkpoint(folder), load_config(folder), fit, context, device)


def _from_mlflow(uri: str) -> Path:
    import mlflow

    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise InputError(f"{uri} cannot be had from MLflow ({error}).") from error
