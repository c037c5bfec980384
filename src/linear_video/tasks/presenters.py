"""The results of tasks that make frames: a video, a table, and a picture; and the table of all tasks."""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from linear_video.common.errors import InputError
from linear_video.evaluation.scores import score_frames
from linear_video.tasks import denoising, pictures, signals
from linear_video.tasks.ahead import Ahead
from linear_video.tasks.backtest import Backtest
from linear_video.tasks.between import Between
from linear_video.tasks.job import Job, Remembered, Result, captioned, framed, frames_table, numbered
from linear_video.tasks.parts import EvenlySpread, Frame, difference, to_frame, to_values
from linear_video.tasks.references import Values, blurred, non_local_means
from linear_video.tasks.settings import parse_frames

logger = logging.getLogger(__name__)

SHOWN = ("model", "optical_flow", "mean", "last_frame")  # number of methods in pictures
SHOWN_AT_ONCE = 12  # frames


def _extrapolate(job: Job) -> Result:
    if job.settings.window_step is not None:
        return _forecasts(job, job.settings.window_step)
    footage = Remembered(job.frames, job.trained.context)
    ahead = Ahead(job.trained, job.settings.horizon)
    guesses = ahead.run(footage)
    future = ahead.given(guesses)
    job.write(footage.last)
    job.write(framed(frame) for frame in future)
    for frame, guess in [*((frame, {}) for frame in footage.last), *zip(future, guesses, strict=True)]:
        job.write_beside(frame, guess, "last_frame")
    rows = {
        "footage": numbered(footage.last, footage.count - len(footage.last)),
        "what comes": numbered(future, footage.count),
    } | _guessed([(str(footage.count + lead), guess) for lead, guess in enumerate(guesses)])
    table = frames_table(job, footage.count + np.arange(len(future)))
    return _result(job, table, rows, ahead.backtest)


def _guessed(guesses: Sequence[tuple[str, dict[str, Values]]]) -> dict[str, list[tuple[str, Frame]]]:
    """For a picture, each method's guesses of some frames, with captions."""
    shown = [name for name in SHOWN if any(name in guess for _, guess in guesses)]
    return {
        name.replace("_", " "): [(caption, to_frame(guess[name])) for caption, guess in guesses if name in guess]
        for name in shown
    }


def _forecasts(job: Job, step: int) -> Result:
    """Footage and its latest forecast, side by side; PSNR and SSIM of every method."""
    context, horizon = max(2, job.trained.context), job.settings.horizon
    ahead = Ahead(job.trained, horizon)
    first, second = itertools.tee(job.frames)
    windows = ahead.windows(first, step)
    upcoming = next(windows, None)
    start, latest, given = 0, list[dict[str, Values]](), np.empty(0, np.uint8)
    rows = []
    truth, made = EvenlySpread[Frame](), EvenlySpread[Frame]()
    for number, frame in enumerate(second):
        if upcoming is not None and upcoming[0] == number:
            start, latest = upcoming
            given = ahead.given(latest)
            upcoming = next(windows, None)
        lead = number - start
        if lead < len(latest):
            row = {"frame": number, "seconds": number / job.fps, "lead": lead + 1}
            row |= _scores(given[lead], frame)
            for name, guess in latest[lead].items():
                row |= _scores(to_frame(guess), frame, f"{name}_")
            rows.append(row)
            job.write([np.hstack([frame, framed(given[lead])])])
            truth.add(frame)
            made.add(given[lead])
    if not rows:
        raise InputError(f"no frame follows a window of {context}: lower the parameter context.")
    pairs = {
        "footage": [(f"frame {rows[number]['frame']}", frame) for number, frame in truth.kept],
        "forecast": [(f"+{rows[number]['lead']}", frame) for number, frame in made.kept],
    }
    return _result(job, pd.DataFrame(rows), pairs, ahead.backtest)


def _scores(frame: Frame, truth: Frame, prefix: str = "") -> dict[str, float]:
    pair = [np.ascontiguousarray(values.transpose(2, 0, 1)[None, None]) / 255 for values in (frame, truth)]
    psnr, ssim = score_frames(*pair)
    return {f"{prefix}psnr": float(psnr[0, 0]), f"{prefix}ssim": float(ssim[0, 0])}


def _hindcast(job: Job) -> Result:
    first = list(itertools.islice(job.frames, job.trained.context))
    past = job.trained.hindcast(first, job.settings.horizon)
    lost = job.trained.forgotten(job.settings.horizon)
    if len(lost):
        logger.info(
            f"Modes that decay too quickly to be traced back {len(past)} frames are left out: "
            f"{', '.join(map(str, lost['mode']))} (half-lives of at most {lost['half_life_frames'].max():.2g} frames)."
        )
    job.write(framed(frame) for frame in past)
    job.write(first)
    strips = {"what came before": numbered(past, -len(past)), "footage": numbered(first)}
    back = range(len(past), 0, -1)
    left_out = [" ".join(map(str, job.trained.forgotten(frames)["mode"])) for frames in back]
    return Result(frames_table(job, -np.array(back), modes_left_out=left_out), pictures.strip(strips, job.title))


def _fill_in(job: Job) -> Result:
    dropped = parse_frames(job.settings.dropped)
    missing = {*parse_frames(job.settings.missing), *dropped}
    if not missing:
        raise InputError(
            'predict.missing and predict.dropped name no frames; name some, as in --params=predict.missing="7 40-45".'
        )
    first, second = itertools.tee(_with_gaps(job.frames, frozenset(dropped)))
    shown: list[tuple[int, Frame, Frame]] = []
    guesses: list[tuple[str, dict[str, Values]]] = []
    between: Between | None = None
    for number, (was, (frame, between)) in enumerate(zip(second, job.trained.filled(first, missing), strict=True)):
        job.write([frame])
        job.write_beside(was, {} if between is None else between.guesses, "mean")
        near = number in missing or number - 1 in missing or number + 1 in missing
        if near and len(shown) < SHOWN_AT_ONCE:
            shown.append((number, was, frame))
            if number in missing and between is not None:
                guesses.append((str(number), between.guesses))
    rows = {
        "as it was": [(f"{number}", was) for number, was, _ in shown],
        "filled in": [(f"{number}{'*' if number in missing else ''}", frame) for number, _, frame in shown],
    } | _guessed(guesses)
    return _result(job, frames_table(job, sorted(missing)), rows, None if between is None else between.backtest)


def _result(
    job: Job, table: pd.DataFrame, rows: dict[str, list[tuple[str, Frame]]], backtest: Backtest | None
) -> Result:
    """The result with the backtest's table and examples, if there was one; warns if the model does not help."""
    picture = pictures.strip(rows, job.title)
    if backtest is None or not backtest.scores:
        return Result(table, picture)
    backtest.warn(job.title, job.trained.ordinary("psnr"))
    examples = backtest.examples()
    compared = pictures.compared(examples, f"known frames of {job.title}") if examples else None
    return Result(table, picture, backtest.table(), compared)


def _with_gaps(frames: Iterator[Frame], dropped: frozenset[int]) -> Iterator[Frame]:
    """Frames, with black ones in place of those that were dropped."""
    number = 0
    for frame in frames:
        while number in dropped:
            yield np.zeros_like(frame)
            number += 1
        yield frame
        number += 1


def _retime(job: Job) -> Result:
    """The pictures show the times at which the neighbours differ most, and some times all over the video."""
    factor = job.settings.factor
    rows = []
    between: Between | None = None
    spread = EvenlySpread[Frame](SHOWN_AT_ONCE // 2)
    hardest: list[tuple[float, float, Frame, dict[str, Values]]] = []
    for given, (frame, between) in enumerate(job.trained.retimed(job.frames, factor)):
        job.write([frame])
        time = given / factor
        job.write_beside(frame, {} if between is None else between.guesses, "mean")
        rows.append({"frame": given, "time_in_footage": time, "seconds": time / job.fps})
        spread.add(frame)
        if between is not None and "mean" in between.guesses:
            apart = float(np.abs(between.guesses["mean"] - to_values(frame)).mean())
            hardest = [*hardest, (apart, time, frame, between.guesses)]
            hardest = sorted(hardest, key=lambda one: -one[0])[: SHOWN_AT_ONCE // 4]
    strips = {"retimed": [(f"frame {number / factor:.3g}", frame) for number, frame in spread.kept]}
    if hardest:
        strips["moves most"] = [(f"frame {time:.3g}", frame) for _, time, frame, _ in hardest]
        strips |= _guessed([(f"frame {time:.3g}", guess) for _, time, _, guess in hardest])
    return _result(job, pd.DataFrame(rows), strips, None if between is None else between.backtest)


def _denoise(job: Job) -> Result:
    """The backtest adds as much noise again to the first frames, and takes the frames themselves for the truth."""
    first = list(itertools.islice(job.frames, denoising.TESTS * denoising.TEST_STEP + 2 * denoising.AROUND))
    frames = itertools.chain(first, job.frames)
    one, two = itertools.tee(frames)
    was, made, changes = EvenlySpread[Frame](), EvenlySpread[Frame](), []
    for before, frame in zip(two, job.trained.denoise(one), strict=True):
        job.write([frame])
        job.reference.write(to_frame(blurred(to_values(before), 1.0)))
        was.add(before)
        made.add(frame)
        changes.append(difference(before, frame))
    middle = first[len(first) // 2]
    strips = {"footage": was.kept, "denoised": made.kept}
    rows = {name: captioned(kept) for name, kept in strips.items()}
    noise = denoising.noise_of(to_values(middle))
    for name, guess in (
        ("blur", blurred(to_values(middle), 1.0)),
        ("non local means", non_local_means(to_values(middle), 255 * max(noise, 1 / 255))),
    ):
        rows[name] = [(str(len(first) // 2), to_frame(guess))]
    backtest = None
    if job.trained.method == "blend" and len(first) > 2 * denoising.AROUND:
        found = denoising.backtest([to_values(frame) for frame in first], job.seed)
        backtest = pd.DataFrame([{"distance": 0, "method": name, "psnr": value} for name, value in found.items()])
        logger.info(f"{job.title}: noise of {255 * noise:.1f} grey levels.")
    return Result(frames_table(job, range(len(changes)), change=changes), pictures.strip(rows, job.title), backtest)


def _sample(job: Job) -> Result:
    settings = job.settings
    futures = job.trained.sample(job.frames, settings.horizon, settings.futures, settings.noise, job.seed)
    job.write(np.hstack(list(moment)) for moment in futures[:4].swapaxes(0, 1))
    spread = (futures / 255).std(axis=0).mean(axis=(1, 2, 3))
    lead = np.arange(1, len(spread) + 1)
    table = pd.DataFrame({"lead": lead, "seconds": lead / job.fps, "spread": spread})
    return Result(table, pictures.spread_plot(futures, job.title))


def _what_if(job: Job) -> Result:
    if job.settings.actions is None:
        raise InputError("predict.actions names no file of actions: a CSV with a column frame, and one for each value.")
    given = _read_actions(Path(job.settings.actions), job.trained.model.actions)
    horizon, context = job.settings.horizon, job.trained.context
    footage = Remembered(job.frames, context)
    deque(footage, maxlen=0)  # to the end
    last, first = list(footage.last), footage.count - context  # the first frame seen
    actions = np.zeros((context + horizon, given.shape[1] - 1), np.float32)
    for frame, *values in given.to_numpy():
        if 0 <= int(frame) - first < len(actions):
            actions[int(frame) - first] = values
    seen_alone = np.where(np.arange(len(actions))[:, None] < context, actions, 0)
    with_them, without = (job.trained.what_if(last, horizon, given) for given in (actions, seen_alone))
    job.write(np.hstack([frame, frame]) for frame in last)
    job.write(np.hstack([one, two]) for one, two in zip(without, with_them, strict=True))
    apart = np.abs(with_them.astype(np.float32) - without).mean(axis=(1, 2, 3)) / 255
    table = pd.DataFrame({"frame": footage.count + np.arange(horizon), "difference": apart})
    rows = {
        "footage": numbered(last, first)[-horizon:],
        "without": numbered(without, 1, "+{}"),
        "with": numbered(with_them, 1, "+{}"),
    }
    return Result(table, pictures.strip(rows, job.title))


def _read_actions(path: Path, values: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a CSV file of actions ({error}).") from error
    numbers = all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes) and not table.isna().any(axis=None)
    if list(table.columns[:1]) != ["frame"] or len(table.columns) != values + 1 or not numbers:
        known = list(table.columns)
        raise InputError(f"{path} must have a column frame and {values} more, all numbers; it has {known}.")
    return table


PRESENTERS: dict[str, Callable[[Job], Result]] = {
    "extrapolate": _extrapolate,
    "hindcast": _hindcast,
    "fill_in": _fill_in,
    "retime": _retime,
    "denoise": _denoise,
    "surprise": signals.surprise,
    "spectrum": signals.spectrum,
    "fourier": signals.fourier,
    "dmd": signals.dmd,
    "magnify": signals.magnify,
    "sample": _sample,
    "what_if": _what_if,
}
