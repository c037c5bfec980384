"""Oscillations in a video: find their frequency, and magnify those within a band of frequencies.

Frames are uint8 (h, w, planes) or (h, w), all of one size. Internally, values are in [0, 1], and frames are shrunk to
cells by area averaging. Frequencies are in Hz, and a band (lo, hi) is within (0, fps / 2).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dct, idct
from scipy.signal import butter, detrend, find_peaks, periodogram, sosfiltfilt
from scipy.signal.windows import hann
from scipy.sparse.linalg import svds

from linear_video.common.errors import InputError
from linear_video.common.images import resized
from linear_video.tasks.parts import Frame, Values, to_frame, to_values

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

# The Fourier transform.
FOURIER_CELLS = 32  # on the longer side of a frame
LEAST_FRAMES = 16
COMPONENTS = 6  # number of principal components of the cells in which a peak is refined
PADDING = 4  # grid points per 1 / duration
REACH = 2.5  # in 1 / duration, on either side of a peak: where it is sought again with other noise
NEAREST, NEAR, FAR = 2, 5, 16  # 1 / duration from a peak; noise: its power up to NEAR, its covariance up to FAR
DRAWS = 400
WIDER = 1.25  # of the interval, since noise is known from few frequencies; from tests on synthetic videos
# Magnification.
CELLS = 96  # on the longer side of the smoothed copy
SHRINKAGE = 4  # least factor by which the copy is smaller than the frames
TILE = 16  # cells on a side of a tile; tiles overlap by half
MARGIN = 1.4  # the modes are fitted to a wider band: (lo / MARGIN, hi * MARGIN)
SPAN = 20  # length of one stretch of time, in periods of the band's lower limit; stretches overlap by half
PERIODS = 3  # periods of the band's lower limit that a video must contain
ORDER = 4  # eigenvalues of a tile's linear dynamics: two conjugate pairs


class Peak(NamedTuple):
    """The temporal Fourier transform of a video, and the strongest oscillation in it; NaN if there is no peak."""

    table: pd.DataFrame  # frequency_hz, power: density in 1/Hz of values in [0, 1], mean over cells
    frequency_hz: float
    interval_hz: tuple[float, float]  # 95 %


class Oscillations(NamedTuple):
    """The modes of a video's own linear dynamics within a band of frequencies."""

    table: pd.DataFrame  # one row for each mode of a tile: frequency_hz, half_life_s, energy
    part: Values  # (T, rows, columns, planes), their sum in the shrunk video
    resolution_hz: float  # 1 / duration

    @property
    def frequency_hz(self) -> float:
        """The frequency on which most modes agree: the energy-weighted mean in the best band 1 / duration wide."""
        frequencies, energies = (self.table[name].to_numpy() for name in ("frequency_hz", "energy"))
        within = (frequencies >= frequencies[:, None]) & (frequencies <= frequencies[:, None] + self.resolution_hz)
        sums = within @ energies
        if not len(sums) or not sums.max() > 0:
            return float("nan")
        return float(np.average(frequencies, weights=energies * within[sums.argmax()]))


# --- the Fourier transform --------------------------------------------------------------------------------------------


def fourier(
    frames: Iterable[Frame], fps: float, lowest: float | None = None, highest: float | None = None, seed: int = 0
) -> Peak:
    """The strongest peak within [lowest, highest] of the power of cells, detrended and in a Hann window.

    The peak is refined by a parabola through the log power at three points, in the leading principal components of the
    cells. Each component is in units of its own noise beside the peak, so that slow drift cannot hide the peak. The
    interval is a bootstrap: the sinusoids of the components, with new noise of the power and covariance that the
    residual has beside the peak. It assumes stationary noise, and an oscillation of constant frequency and amplitude.
    If noise is as strong as the peak, the interval ends about 3 / duration on either side, and the frequency is not
    known.

    Args:
        frames: read once; at most ``FOURIER_CELLS`` squared cells of each frame are kept.
        fps: frames per second.
        lowest: lowest frequency in Hz; by default two cycles in the whole video.
        highest: highest frequency in Hz; by default fps / 2.
        seed: seed of the bootstrap.

    Raises:
        InputError: if the footage is too short, or the limits are impossible.
    """
    cells = np.stack([frame.ravel() for frame in shrunk_cells(frames, FOURIER_CELLS, 1, LEAST_FRAMES)])  # (T, C)
    duration = len(cells) / fps
    lowest, highest = 2 / duration if lowest is None else lowest, fps / 2 if highest is None else highest
    if not 0 < lowest < highest <= fps / 2:
        raise InputError(f"lowest and highest must be within (0, {fps / 2:g}] Hz, in order, not {lowest}, {highest}.")
    power = np.zeros(PADDING * len(cells) // 2 + 1)
    for some in np.array_split(cells, -(-cells.shape[1] // 256), axis=1):
        grid, of_cells = periodogram(some, fps, "hann", PADDING * len(cells), "linear", axis=0)
        power += of_cells.sum(axis=1) / cells.shape[1]
    table = pd.DataFrame({"frequency_hz": grid, "power": power})
    peaks = find_peaks(power)[0]
    peaks = peaks[(grid[peaks] >= lowest) & (grid[peaks] <= highest)]
    if not len(peaks) or power[peaks].max() < 1e-12:  # rounding errors alone
        return Peak(table, np.nan, (np.nan, np.nan))
    near = float(grid[peaks[power[peaks].argmax()]])
    random = np.random.default_rng(seed)
    series = _components(detrend(cells, axis=0), random)
    # In units of each component's noise at the peak, so that those that show it best count most.
    noise = _noise(series, fps, _peak_near(series, fps, near))
    series /= np.sqrt(np.square(np.abs(noise)).mean(axis=0)) + 1e-9
    frequency = _peak_near(series, fps, near)
    half = _half_interval(series, fps, frequency, random)
    return Peak(table, frequency, (frequency - half, frequency + half))


def _components(cells: Values, random: np.random.Generator) -> Reals:
    """The leading principal components in time of cells (T, C), each of the same power: (T, at most COMPONENTS)."""
    count = min(COMPONENTS, *(side - 1 for side in cells.shape))
    if count < 1:
        return np.asarray(cells, np.float64)
    components, scales, _ = svds(cells.astype(np.float64), count, random_state=random)
    return np.asarray(components[:, scales > 1e-3 * scales.max()])


def _refined(power: Reals, grid: Reals) -> Reals:
    """Where the log power (N, points) on an even grid is greatest: (N,)."""
    at = power[:, 1:-1].argmax(axis=1) + 1
    before, top, after = np.log(np.stack([power[np.arange(len(at)), at + step] for step in (-1, 0, 1)]) + 1e-300)
    bend = before - 2 * top + after
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend < 0).clip(-0.5, 0.5)
    return np.asarray(grid[at] + shift * (grid[1] - grid[0]))


def _transform(length: int, fps: float, frequencies: Reals) -> Complexes:
    """Matrix (frequencies, T) that transforms a series in a Hann window."""
    turns = np.outer(frequencies, np.arange(length) / fps)
    return np.asarray(np.exp(-2j * np.pi * turns) * hann(length, sym=False))


def _grid(length: int, fps: float, frequency: float, reach: float) -> Reals:
    """An even grid of frequencies, up to ``reach`` / duration on either side of one."""
    steps = int(reach * PADDING)
    return np.asarray(frequency + np.arange(-steps, steps + 1) * fps / length / PADDING)


def _peak_near(series: Reals, fps: float, frequency: float) -> float:
    """The peak of the power of series (T, C) within 1 / duration of a frequency."""
    grid = _grid(len(series), fps, frequency, 1)
    power = np.square(np.abs(_transform(len(series), fps, grid) @ series)).sum(axis=1)
    return float(_refined(power[None], grid)[0])


def _sinusoids(series: Reals, fps: float, frequency: float) -> tuple[Reals, Reals]:
    """The least squares sinusoid in each of the series (T, C), and the residual of it and a straight line."""
    turns = 2 * np.pi * frequency * np.arange(len(series)) / fps
    line = np.linspace(-1, 1, len(series))
    regressors = np.stack([np.cos(turns), np.sin(turns), np.ones_like(line), line], 1)
    coefficients = np.linalg.lstsq(regressors, series, rcond=None)[0]
    return np.asarray(regressors[:, :2] @ coefficients[:2]), np.asarray(series - regressors @ coefficients)


def _noise(series: Reals, fps: float, frequency: float) -> Complexes:
    """The transform (J, C), at J frequencies beside a peak, of the residual of series (T, C) without its sinusoids.

    All are scaled to the strength of those within NEAR, assuming that the power changes with frequency as f^slope.
    """
    resolution = fps / len(series)
    away = np.array([*range(-FAR, -NEAREST + 1), *range(NEAREST, FAR + 1)])
    beside = frequency + away * resolution
    away, beside = (values[(beside > resolution) & (beside < fps / 2)] for values in (away, beside))
    noise = _transform(len(series), fps, beside) @ _sinusoids(series, fps, frequency)[1]
    powers = np.square(np.abs(noise)).sum(axis=1) + 1e-300
    near, ratios = np.abs(away) <= NEAR, np.log(beside / frequency)
    slope = np.polyfit(ratios[near], np.log(powers[near]), 1)[0]
    level = (powers * np.exp(-slope * ratios))[near].mean()
    return np.asarray(noise * np.sqrt(level / powers)[:, None])


def _half_interval(series: Reals, fps: float, frequency: float, random: np.random.Generator) -> float:
    """The distance from a frequency within which the peak lies in 95 % of draws of the noise, made a little wider.

    At frequencies f_i near the peak, the windowed transform of a series is S_i + sum_j Z_ij A_j / sqrt(J): S of the
    sinusoid, A the noise beside the peak, and Z complex normal with the window's covariance along i. Only the products
    of S and A, summed over series, are needed.
    """
    grid = _grid(len(series), fps, frequency, REACH)
    rows = _transform(len(series), fps, grid)
    signal = rows @ _sinusoids(series, fps, frequency)[0]  # (points, C)
    noise = _noise(series, fps, frequency)  # (J, C)
    count, noises = len(noise), noise @ noise.conj().T / len(noise)
    # The fitted sinusoids contain noise, too.
    seen = np.square(np.abs(signal)).sum(axis=1)
    share = max(0.0, 1 - float(np.trace(noises).real) / max(float(seen[len(grid) // 2]), 1e-300))
    crossed = np.sqrt(share / count) * signal @ noise.conj().T
    values, vectors = np.linalg.eigh(rows @ rows.conj().T / np.square(np.abs(rows[0])).sum())
    normal = random.normal(0, np.sqrt(0.5), (2, DRAWS, len(grid), count))
    drawn: Complexes = (vectors * np.sqrt(values.clip(0))) @ (normal[0] + 1j * normal[1])
    changed = 2 * (drawn.conj() * crossed).real.sum(axis=2) + ((drawn @ noises) * drawn.conj()).real.sum(axis=2)
    return WIDER * float(np.quantile(np.abs(_refined(share * seen + changed, grid) - frequency), 0.95))


# --- magnification ----------------------------------------------------------------------------------------------------


def magnified_linear(frames: Iterable[Frame], fps: float, band: tuple[float, float], factor: float) -> Iterator[Frame]:
    """Linear Eulerian magnification (Wu et al. 2012): amplify the result of a temporal band-pass filter by ``factor``.

    The result is frame + (factor - 1) * enlarged(filtered(shrunk frame)), with a Butterworth filter of order 2 that
    runs forwards and backwards.

    Args:
        frames: read twice, so a list, an array, or an iterable that starts anew each time. Only a shrunk copy is kept.
        fps: frames per second.
        band: lowest and highest frequency in Hz.
        factor: factor of the amplitude; 1 changes nothing.

    Raises:
        InputError: if the footage is too short or can be read only once, or the band is impossible.
    """
    _check_twice(frames)
    cells = _copy(frames, fps, band)
    sections = butter(2, band, "bandpass", fs=fps, output="sos")
    padding = min(len(cells) - 1, int(3 * fps / band[0]))
    part = np.asarray(sosfiltfilt(sections, cells, axis=0, padlen=padding), np.float32)
    return magnified(frames, part, factor)


def magnified_modes(
    frames: Iterable[Frame], fps: float, band: tuple[float, float], factor: float, order: int = ORDER
) -> Iterator[Frame]:
    """Magnification by linear modes: frame + (factor - 1) * enlarged(``oscillations`` of the video in the band).

    Arguments and errors are as in ``magnified_linear``; ``order`` is as in ``oscillations``.
    """
    _check_twice(frames)
    return magnified(frames, oscillations(frames, fps, band, order).part, factor)


def oscillations(frames: Iterable[Frame], fps: float, band: tuple[float, float], order: int = ORDER) -> Oscillations:
    """Fit linear dynamics to each tile of the shrunk video, and add up those modes whose frequency is in the band.

    Tiles and stretches of time overlap, with Hann windows. See ``_modes``.

    Args:
        frames: read once; only a shrunk copy is kept.
        fps: frames per second.
        band: lowest and highest frequency in Hz.
        order: number of eigenvalues of a tile's dynamics.

    Raises:
        InputError: if the footage is too short, or the band or the order is impossible.
    """
    if order < 2:
        raise InputError(f"order must be at least 2, a pair of eigenvalues, not {order}.")
    cells = _copy(frames, fps, band)
    part = np.zeros_like(cells)
    tables = []
    for time, time_weights in _blocks(len(cells), round(SPAN * fps / band[0])):
        for rows, row_weights in _blocks(cells.shape[1], TILE):
            for columns, column_weights in _blocks(cells.shape[2], TILE):
                tile = cells[time, rows, columns]
                table, found = _modes(tile.reshape(len(tile), -1).astype(np.float64), fps, band, order)
                weights = time_weights[:, None, None] * row_weights[:, None] * column_weights
                part[time, rows, columns] += found.reshape(tile.shape) * weights[..., None]
                tables.append(table)
    return Oscillations(pd.concat(tables, ignore_index=True), part, fps / len(cells))


def _modes(series: Reals, fps: float, band: tuple[float, float], order: int) -> tuple[pd.DataFrame, Reals]:
    """Modes in the band of a series (T, C), and their sum, (T, C).

    1. A cosine transform C (M, T) keeps the frequencies near the band, at a lower frame rate: y = C x.
    2. Delay embedding h_k = (y_k, ..., y_k+L-1), of which the ``order`` strongest principal components z_k are kept.
    3. Dynamic mode decomposition: z_k+1 = A z_k by least squares, A = W diag(lambda) W^-1. A mode has the frequency
       |arg lambda| fps / 2 pi; with S those within the band, W_S W_S^-1 z_k is their part of z_k.
    4. Back to series by the mean over all delays of a time (singular spectrum analysis); so far this is one filter
       (M, M) in time, the same for all cells. Of its result, the strongest patterns of cells are kept, as many as there
       are eigenvalues in the band, and brought back to all T frames by C'.
    """
    length = len(series)
    kept = min(length, int(np.ceil(2 * MARGIN * band[1] * length / fps)) + 1)
    spectrum = dct(series, axis=0, norm="ortho")[:kept]
    coarse_fps = fps * kept / length
    spectrum[np.arange(kept) * fps / 2 / length < band[0] / MARGIN] = 0
    spectrum[np.arange(kept) * fps / 2 / length > band[1] * MARGIN] = 0
    coarse = idct(spectrum, axis=0, norm="ortho")
    delays = kept // 2
    count = kept - delays + 1  # K
    products = coarse @ coarse.T
    embedded = sum(products[lag : lag + count, lag : lag + count] for lag in range(delays))  # h_i . h_j
    energies, vectors = np.linalg.eigh(embedded)
    rank = max(1, min(order, count // 2, int((energies > max(1e-9 * energies[-1], 1e-12)).sum())))
    scales, vectors = np.sqrt(energies[::-1][:rank].clip(1e-30)), vectors[:, ::-1][:, :rank]
    states = vectors * scales  # (K, rank)
    transition = np.linalg.lstsq(states[:-1], states[1:], rcond=None)[0].T
    eigenvalues, directions = np.linalg.eig(transition)
    frequencies = np.abs(np.angle(eigenvalues)) * coarse_fps / (2 * np.pi)
    chosen = (frequencies >= band[0]) & (frequencies <= band[1])
    inverse = np.linalg.pinv(directions)
    parts = (directions[:, chosen] @ inverse[chosen]).real  # (rank, rank)
    kernel = states @ parts.T @ (vectors / scales).T  # h_k of the chosen modes is sum_j kernel_kj h_j
    filtering = np.zeros((kept, kept))
    for lag in range(delays):
        filtering[lag : lag + count, lag : lag + count] += kernel
    times = np.convolve(np.ones(count), np.ones(delays))  # how often each time is in an h_k
    filtered = filtering / times[:, None] @ coarse
    courses = np.linalg.eigh(filtered @ filtered.T)[1][:, kept - int(chosen.sum()) :]  # in time, the strongest last
    filtered = courses @ (courses.T @ filtered)
    once = chosen & (eigenvalues.imag >= 0)
    coordinates = np.abs(states @ inverse[once].T) ** 2
    table = pd.DataFrame(
        {
            "frequency_hz": frequencies[once],
            "half_life_s": np.log(2) / -np.log(np.abs(eigenvalues[once]).clip(1e-9, 1 - 1e-9)) / coarse_fps,
            "energy": coordinates.mean(axis=0),
        }
    )
    padded = np.zeros_like(series)
    padded[:kept] = dct(filtered, axis=0, norm="ortho")
    return table, np.asarray(idct(padded, axis=0, norm="ortho"))


def _check_twice(frames: Iterable[Frame]) -> None:
    """Raise InputError if frames can be read only once."""
    if isinstance(frames, Iterator):
        raise InputError("frames are read twice: give a list, an array, or an iterable that starts anew each time.")


def check_band(band: tuple[float, float], fps: float) -> None:
    """Raise InputError unless a video with this frame rate can show a band of frequencies in Hz."""
    if not 0 < band[0] < band[1] < fps / 2:
        raise InputError(f"band must be two frequencies within (0, {fps / 2:g}) Hz, in order, not {band}.")


def _copy(frames: Iterable[Frame], fps: float, band: tuple[float, float]) -> Values:
    """Frames shrunk for magnification, (T, rows, columns, planes).

    Raises:
        InputError: if the frames are too few, or the band is impossible.
    """
    check_band(band, fps)
    least = max(LEAST_FRAMES, int(np.ceil(PERIODS * fps / band[0])))
    return np.stack(list(shrunk_cells(frames, CELLS, SHRINKAGE, least)))


def shrunk_cells(frames: Iterable[Frame], cells: int, shrinkage: int, least: int) -> Iterator[Values]:
    """Shrink frames to at most ``cells`` on the longer side, and by a factor of at least ``shrinkage``."""
    count, shape = 0, None
    for count, frame in enumerate(frames, 1):
        if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or 0 in frame.shape:
            raise InputError(f"frames must be uint8 (h, w, 3), (h, w, 1) or (h, w), not {frame.dtype} {frame.shape}.")
        if frame.shape != (shape := shape or frame.shape):
            raise InputError(f"frame {count - 1} is {frame.shape}, the ones before {shape}.")
        height, width = frame.shape[:2]
        by = max(shrinkage, max(height, width) / cells)
        values = to_values(frame.reshape(height, width, -1))
        yield resized(values, max(1, round(height / by)), max(1, round(width / by)))
    if count < least:
        raise InputError(f"the footage has {count} frames, but this needs at least {least}; give a longer video.")


def magnified(frames: Iterable[Frame], part: Values, factor: float) -> Iterator[Frame]:
    """Frames in which a part (T, rows, columns, planes) of their shrunk copies is ``factor`` times as strong."""
    for frame, change in zip(frames, part, strict=True):
        values = to_values(frame)
        enlarged = cv2.resize(change, values.shape[1::-1], interpolation=cv2.INTER_CUBIC).reshape(values.shape)
        yield to_frame(values + np.float32(factor - 1) * enlarged)


def _blocks(length: int, size: int) -> list[tuple[slice, Values]]:
    """Blocks of at most ``size`` that cover a length, overlapping by half or more, with weights that add up to 1."""
    size = min(length, size)
    count = max(1, -(-2 * length // size) - 1)
    starts = np.rint(np.linspace(0, length - size, count)).astype(int)
    shape = hann(size + 2)[1:-1]
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += shape
    return [
        (slice(start, start + size), np.asarray(shape / total[start : start + size], np.float32))
        for start in starts.tolist()
    ]
