"""A trained model, with methods for footage of any size and length."""

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from linear_video.common.errors import InputError
from linear_video.models.base import (
    DrawsFutures,
    HasLikelihood,
    HasSpectrum,
    KnowsActions,
    KnowsAnyTime,
    TakesAnySize,
    VideoModel,
    usual_device,
)
from linear_video.models.registry import MODELS, model_class
from linear_video.models.spectrum import spectrum_of
from linear_video.tasks.ahead import Ahead
from linear_video.tasks.between import Between, filled, retimed, shown_frames
from linear_video.tasks.denoising import denoised
from linear_video.tasks.parts import Frame, to_frame, to_values
from linear_video.tasks.settings import METHODS, Fit, check_method
from linear_video.tasks.stream import Footage, Window, pieces

SIZES = 2  # beside its own size, sizes for which a model keeps copies: frames, and frames of half the size
GREY_LEVELS = math.log2(255)  # bits from a density of values in [0, 1] to one of grey values
# The capability that a model needs for a task.
NEEDS: dict[str, type[VideoModel]] = {
    "extrapolate": VideoModel,
    "hindcast": KnowsAnyTime,
    "fill_in": KnowsAnyTime,
    "retime": KnowsAnyTime,
    "denoise": KnowsAnyTime,
    "surprise": VideoModel,
    "spectrum": HasSpectrum,
    "fourier": VideoModel,
    "dmd": VideoModel,
    "magnify": VideoModel,
    "sample": DrawsFutures,
    "what_if": KnowsActions,
}


class Surprises(NamedTuple):
    """How unlikely each of T frames is, given those before it; NaN if there are too few before it."""

    likelihood: NDArray[np.float64]  # (T,), bits per value: exact (ILE), a bound (Dynamic VAE), NaN for other models
    errors: NDArray[np.float64]  # (T, horizon), mean squared error of its forecasts from 1, 2, ... frames before it


class Modes(NamedTuple):
    """The modes of a model's linear dynamics in a video."""

    table: pd.DataFrame  # one row each, strongest first: mode, frequency_hz, period_s, half_life_s, energy (share)
    frames: NDArray[np.uint8]  # (T, h, w, channels), the last window
    responses: NDArray[np.float32]  # (modes, T, h, w, channels), what it would lose without each of the strongest


class TrainedModel:
    """A trained model that works on footage; ``linear_video.load`` gives one.

    Footage is anything that yields frames: an array (T, h, w, 3), a list or a generator. Frames are uint8, (h, w, 3) in
    red, green, blue, (h, w, 1) or (h, w), and all have one size. Frames that do not have the model's size are resized
    or cut into tiles (``fit``). A model of grey frames sees the colours one by one. Methods that process a whole video
    yield frames while they read, so their memory does not grow with the length of the video.

    Attributes:
        model: the model itself, a ``VideoModel``.
        config: what the checkpoint says about it.
        fit: ``"whole"``, ``"resize"`` or ``"tile"``, see ``tasks.parts.Parts``.
        method: ``"blend"`` of the model and the references, weighted by tests on the video itself; or the name of one
            of them.
        context: number of frames that the model sees before the frames that it makes, or on either side of them.
    """

    def __init__(
        self,
        model: VideoModel,
        config: dict[str, Any],
        fit: Fit = "auto",
        context: int = 10,
        device: str | None = None,
        method: str = "blend",
    ) -> None:
        if fit not in get_args(Fit):
            raise InputError(f"fit must be one of {', '.join(get_args(Fit))}, not {fit!r}.")
        if context < 2:
            raise InputError(f"context must be at least 2 frames, not {context}.")
        if method not in METHODS:
            raise InputError(f"method must be one of {', '.join(METHODS)}, not {method!r}.")
        any_size = model.offers(TakesAnySize)
        if fit == "whole" and not any_size:
            raise InputError("fit: only models that take frames of any size see them whole; choose resize or tile.")
        self.fit: Fit = ("whole" if any_size else "resize") if fit == "auto" else fit
        self.device = usual_device() if device is None else torch.device(device)
        self.model = model.to(self.device)
        self.config, self.context, self.method = config, context, method
        self._sized: dict[tuple[int, int], VideoModel] = {model.frame_shape[1:]: self.model}  # by height and width

    @property
    def name(self) -> str:
        """The kind of model: ile, dynamic_vae, lds, adversarial, last_frame and so on."""
        return str(self.config["model"])

    def ordinary(self, measure: str) -> tuple[float, float] | None:
        """Least and greatest ``psnr`` or ``bits_per_value`` of clips that were held out of its training, if known.

        See ``evaluation.ordinary``.
        """
        found = self.config.get("training", {}).get("ordinary", {}).get(measure)
        return None if found is None else (float(found[0]), float(found[1]))

    @property
    def knows_any_time(self) -> bool:
        """Whether the model can make frames at times between frames."""
        return self.model.offers(KnowsAnyTime)

    def sized(self, shape: tuple[int, ...]) -> VideoModel:
        """The model for frames of a shape (h, w, planes): itself, or a copy for this size if it sees frames whole."""
        if self.fit != "whole":
            return self.model
        assert isinstance(self.model, TakesAnySize)
        step = self.model.size_step
        height, width = (-(-side // step) * step for side in shape[:2])
        if (height, width) not in self._sized:
            own = self.model.frame_shape[1:]
            others = [size for size in self._sized if size != own]
            if len(others) == SIZES:
                del self._sized[others[0]]
            self._sized[height, width] = self.model.sized(height, width)
        return self._sized[height, width]

    def able(self, task: str) -> Any:
        """The model, if it has the capability that a task ``NEEDS``.

        Raises:
            InputError: if it does not have it. The message says which models do.
        """
        needed = NEEDS[task]
        if self.model.offers(needed):
            return self.model
        able = [name for name in MODELS if issubclass(model_class(name), needed)]
        if needed is HasSpectrum and isinstance(self.model, needed):
            raise InputError(f"{task}: this {self.name} has no modes; one that was trained with dynamics modal has.")
        if needed is KnowsActions:
            raise InputError(
                f"{task}: the model knows no actions; {' and '.join(able)} can, if trained with the parameter actions "
                f"on clips that have some (kedro run --env=pushes --pipelines={able[0]})."
            )
        raise InputError(f"{task}: the model {self.name} cannot do that; {' and '.join(able)} can.")

    # --- the future and the past ------------------------------------------------------------------------------------

    def extrapolate(self, frames: Iterable[Frame], horizon: int) -> NDArray[np.uint8]:
        """The frames after the last one, by the ``method``: (horizon, h, w, channels)."""
        if self.method == "model":
            return self.model_ahead(frames, horizon)
        ahead = Ahead(self, horizon)
        return ahead.given(ahead.run(frames))

    def model_ahead(self, frames: Iterable[Frame], horizon: int) -> NDArray[np.uint8]:
        """The frames after the last one, by the model alone."""
        footage, context = self._last(frames)
        return footage.joined(footage.model.predict(context, horizon))

    def what_if(self, frames: Iterable[Frame], horizon: int, actions: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """The frames after the last one, given the actions of the context and the horizon: (horizon, h, w, channels).

        ``actions`` are (context + horizon, m); zeros mean no action.
        """
        if actions.shape != (wanted := (self.context + horizon, self.able("what_if").actions)):
            raise InputError(f"actions must be {wanted}, not {actions.shape}.")
        footage, context = self._last(frames)
        known = torch.as_tensor(actions, dtype=torch.float32, device=self.device).expand(len(context), -1, -1)
        return footage.joined(footage.model.predict(context, horizon, actions=known))

    def sample(
        self, frames: Iterable[Frame], horizon: int, count: int, noise: float = 1.0, seed: int = 0
    ) -> NDArray[np.uint8]:
        """Futures drawn from the model's distribution: (count, horizon, h, w, channels)."""
        self.able("sample")
        footage, context = self._last(frames)
        drawn = footage.model.futures(context, horizon, count, seed, noise)
        return np.stack([footage.joined(future) for future in drawn])

    def hindcast(self, frames: Iterable[Frame], horizon: int) -> NDArray[np.uint8]:
        """The frames before the first one: (horizon, h, w, channels), in order of time."""
        self.able("hindcast")
        footage = self._footage(frames)
        seen = [parts for _, parts in itertools.islice(footage, self.context)]
        footage.check_length(self.context)
        model = footage.model
        projected = model.project(torch.stack(seen, 1))
        observed = torch.ones(len(seen), dtype=torch.bool, device=self.device)
        given = [model.interpolate(projected, observed, float(time))[1] for time in range(-horizon, 0)]
        return footage.joined(torch.stack(given, 1))

    def forgotten(self, horizon: int) -> pd.DataFrame:
        """The modes that ``hindcast`` leaves out, since they decay too quickly to be traced back ``horizon`` frames."""
        model: KnowsAnyTime[Any] = self.able("hindcast")
        names = ["mode", "period_frames", "half_life_frames"]
        if not isinstance(model, HasSpectrum) or not model.offers(HasSpectrum):
            return pd.DataFrame(columns=names)
        spectrum, lost = model.spectrum(), model.forgotten(horizon)
        columns = (lost.nonzero().flatten(), spectrum.period[lost], spectrum.half_life[lost])
        return pd.DataFrame(dict(zip(names, (column.tolist() for column in columns), strict=True)))

    def model_between(self, frames: Sequence[Frame | None], time: float) -> Frame:
        """The frame at a time in 0 .. T-1, by the model alone, from T frames; frames that are None are missing."""
        footage = self._footage(shown_frames(frames))
        clip = torch.stack([parts for _, parts in footage], 1)
        observed = torch.tensor([frame is not None for frame in frames], device=clip.device)
        weights, correction = footage.model.interpolate(footage.model.project(clip), observed, time)
        values = footage.parts.join(correction.cpu().numpy())
        for index in weights.nonzero().flatten().tolist():
            values = values + np.float32(float(weights[index])) * to_values(frames[index])
        return to_frame(values)

    # --- all over a video --------------------------------------------------------------------------------------------

    def fill_in(self, frames: Iterable[Frame], missing: Iterable[int]) -> Iterator[Frame]:
        """All frames; those numbered in ``missing`` are replaced by estimates from the others, by the ``method``."""
        return (frame for frame, _ in self.filled(frames, missing))

    def retime(self, frames: Iterable[Frame], factor: float) -> Iterator[Frame]:
        """Frames at times 0, 1/factor, 2/factor, ..., in units of frames, up to the last frame, by the ``method``."""
        return (frame for frame, _ in self.retimed(frames, factor))

    def filled(self, frames: Iterable[Frame], missing: Iterable[int]) -> Iterator[tuple[Frame, Between | None]]:
        """Like ``fill_in``, with the tests of the methods so far, or None with the method ``"model"``."""
        if self.method != "model":
            yield from filled(self, frames, missing)
            return
        gone = frozenset(missing)
        for window, number in self._windows("fill_in", frames, gone):
            yield window.frame(number) if number not in gone else self._between(window, float(number)), None
        beyond = [number for number in gone if number >= window.footage.count]
        if beyond:
            raise InputError(f"missing names frame {min(beyond)}, but the footage has {window.footage.count} frames.")

    def retimed(self, frames: Iterable[Frame], factor: float) -> Iterator[tuple[Frame, Between | None]]:
        """Like ``retime``, with the tests of the methods so far, or None with the method ``"model"``."""
        if not 0.1 <= factor <= 10:
            raise InputError(f"factor must be within [0.1, 10], not {factor}.")
        if self.method != "model":
            yield from retimed(self, frames, factor)
            return
        given = 0
        for window, number in self._windows("retime", frames):
            last = number if window.footage.ended and number == window.footage.count - 1 else number + 1 - 1e-9
            while given / factor <= last + 1e-9:
                time = given / factor
                exact = abs(time - round(time)) < 1e-6
                yield window.frame(round(time)) if exact else self._between(window, time), None
                given += 1

    def denoise(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Every frame without noise: from the frames around it, or from the model's trajectory through them."""
        check_method(self.method, "denoise")
        if self.method != "model":
            yield from denoised(frames)
            return
        for window, number in self._windows("denoise", frames):
            yield window.footage.joined(window.footage.model.smooth(window.projected, number - window.first)[:, None])[
                0
            ]

    def surprise(self, frames: Iterable[Frame], horizon: int = 5) -> Surprises:
        """How unlikely each frame is, by its density, and by errors of its forecasts up to ``horizon`` frames before.

        The density is of the frame as the model sees it, resized or tiled.
        """
        footage = self._footage(frames)
        past = self.context + horizon - 1
        kept: list[Tensor] = []  # number of frames before, at most ``past``
        likelihood, errors = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
        for batch in footage.batches():
            clip = torch.stack([*kept, *(parts for _, parts in batch)], 1)  # (P, before + T, C, H, W)
            likelihood.append(self._likelihood(footage.model, clip, len(kept)))
            errors.append(self._forecast_errors(footage.model, clip, len(kept), horizon))
            kept = list(clip[:, -past:].unbind(1))
        footage.check_length(self.context)
        return Surprises(np.concatenate(likelihood), np.concatenate(errors))

    def _likelihood(self, model: VideoModel, clip: Tensor, before: int) -> NDArray[np.float64]:
        """Bits per value of the frames from number ``before`` on."""
        if not isinstance(model, HasLikelihood):
            return np.full(clip.shape[1] - before, np.nan)
        nats = torch.cat([model.surprise(piece, self.context) for piece in pieces(clip)]).mean(0)[before:]
        return np.asarray(nats.cpu().numpy() / math.log(2) + GREY_LEVELS)

    def _forecast_errors(self, model: VideoModel, clip: Tensor, before: int, horizon: int) -> NDArray[np.float64]:
        """Mean squared errors of the forecasts of frames from number ``before`` on: (T, horizon)."""
        length = clip.shape[1]
        errors = np.full((length + horizon, horizon), np.nan)
        # The first frame that is forecast, of each window.
        ends = torch.arange(self.context, max(length, self.context), device=clip.device)
        if len(ends):
            sums = torch.zeros((len(ends), horizon), dtype=torch.float64, device=clip.device)
            for piece in pieces(clip, horizon):
                forecast = model.forecasts(piece[:, :-1], self.context, horizon)  # (P, ends, horizon, C, H, W)
                for lead in range(horizon):
                    seen = ends[ends + lead < length]
                    error = forecast[:, : len(seen), lead].flatten(2) - piece[:, seen + lead].flatten(2)
                    sums[: len(seen), lead] += error.square().mean(2).sum(0)
            for lead in range(horizon):
                seen = ends[ends + lead < length]
                errors[(seen + lead).cpu().numpy(), lead] = (sums[: len(seen), lead] / len(clip)).cpu().numpy()
        return errors[before:length]

    def spectrum(self, frames: Iterable[Frame], fps: float, window: int = 50, strongest: int = 6) -> Modes:
        """The mean energy of each mode in a video, over windows of ``window`` frames, and the strongest modes."""
        model: HasSpectrum = self.able("spectrum")
        footage = self._footage(frames)
        energies, eigenvalues = list[Tensor](), list[Tensor]()
        while batch := list(itertools.islice(footage, window)):
            if energies and len(batch) < window:  # a shorter window would have a coarser resolution
                break
            seen = batch
            clip = torch.stack([parts for _, parts in seen], 1)
            for piece in pieces(clip):
                energies.append(model.mode_energy(piece).sum(0) / len(clip))
                eigenvalues.append(model.spectrum(piece).eigenvalues)
        footage.check_length(2)
        energy = torch.stack(energies).sum(0)
        spectrum = spectrum_of(_mean_eigenvalues(torch.stack(eigenvalues), torch.stack(energies)))
        order = energy.argsort(descending=True)
        columns = {
            "frequency_hz": fps / spectrum.period,
            "period_s": spectrum.period / fps,
            "half_life_s": spectrum.half_life / fps,
            "energy": energy / energy.sum(),
        }
        table = pd.DataFrame({"mode": order.tolist(), **{k: v[order].tolist() for k, v in columns.items()}})
        responses = model.mode_response(clip, order[:strongest].tolist())
        shown = np.stack([footage.joined(response, difference=True) for response in responses])
        return Modes(table, np.stack([frame for frame, _ in seen][: shown.shape[1]]), shown)

    # --- within -------------------------------------------------------------------------------------------------------

    def _footage(self, frames: Iterable[Frame]) -> Footage:
        return Footage(frames, self.sized, self.fit)

    def _last(self, frames: Iterable[Frame]) -> tuple[Footage, Tensor]:
        """The last frames of footage, as the model sees them: (P, context, C, H, W)."""
        footage = self._footage(frames)
        seen = deque((parts for _, parts in footage), maxlen=self.context)
        footage.check_length(self.context)
        return footage, torch.stack(list(seen), 1)

    def _between(self, window: Window, time: float) -> Frame:
        """The frame at a time, which keeps the full detail of the frames around it."""
        if not window.observed.any():
            raise InputError(
                f"all frames within {self.context} of frame {math.floor(time)} are missing; raise context, the "
                "number of frames that the model sees."
            )
        weights, correction = window.footage.model.interpolate(window.projected, window.observed, time - window.first)
        values = window.footage.parts.join(correction.cpu().numpy())
        for index in weights.nonzero().flatten().tolist():
            values = values + np.float32(float(weights[index]) / 255) * window.frame(window.first + index)
        return to_frame(values)

    def _windows(
        self, task: str, frames: Iterable[Frame], missing: frozenset[int] = frozenset()
    ) -> Iterator[tuple[Window, int]]:
        """Every frame's number in turn, and a window of the frames around it."""
        self.able(task)
        window = Window(self._footage(frames), self.context, missing)
        number = 0
        while window.move(number):
            yield window, number
            number += 1
        window.footage.check_length(2)


def _mean_eigenvalues(eigenvalues: Tensor, energies: Tensor) -> Tensor:
    """The eigenvalues of windows (W, modes), if they depend on the footage, at their energy-weighted mean angle."""
    if (eigenvalues == eigenvalues[0]).all():
        return eigenvalues[0]
    weights = energies + 1e-12 * energies.max()  # so that a mode without energy has a mean, too
    weights = weights / weights.sum(0)
    angle = (weights * eigenvalues.angle()).sum(0).clamp(0, torch.pi - 1e-12)
    return torch.polar((weights * eigenvalues.abs()).sum(0), angle)
