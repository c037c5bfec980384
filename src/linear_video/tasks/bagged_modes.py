"""Linear modes of a video with intervals, by bagging, optimized dynamic mode decomposition (PyDMD).

Askham and Kutz 2018, arXiv 1704.02343; Sashidhar and Kutz 2022, arXiv 2107.10878.
"""

import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.signal import butter, detrend, sosfiltfilt

from linear_video.common.errors import InputError
from linear_video.tasks.frequencies import FOURIER_CELLS, LEAST_FRAMES, check_band, shrunk_cells
from linear_video.tasks.parts import Frame

TRIALS, SHARE = 50, 0.8  # number of bags, and the share of the frames in each
NORMAL = 1.96  # standard deviations on either side that contain 95 %


def bagged_modes(
    frames: Iterable[Frame], fps: float, order: int, band: tuple[float, float] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Frequencies of ``order`` eigenvalues (conjugate pairs) fitted to a video, and how they spread over bags of it.

    The cells of the shrunk frames are detrended and, if there is a ``band`` in Hz, filtered forwards and backwards by a
    Butterworth filter of order 2.

    Returns:
        A row for each pair, strongest first: frequency_hz, from_hz, to_hz (95 %, of a normal distribution), half_life_s
        (negative for growing modes), amplitude.

    Raises:
        InputError: if PyDMD is not installed, or the footage is too short.
    """
    try:
        from pydmd import BOPDMD
    except ImportError as error:
        raise InputError('the task dmd needs PyDMD: pip install "linear-video[dmd]".') from error
    if band is not None:
        check_band(band, fps)
    least = max(LEAST_FRAMES, 4 * order)
    cells = np.stack([frame.ravel() for frame in shrunk_cells(frames, FOURIER_CELLS, 1, least)])  # (T, C)
    series = detrend(cells.astype(np.float64), axis=0)
    if band is not None:
        series = sosfiltfilt(butter(2, band, "bandpass", fs=fps, output="sos"), series, axis=0)
    state = np.random.get_state()  # noqa: NPY002  # PyDMD draws from NumPy's own generator
    np.random.seed(seed)  # noqa: NPY002
    try:
        fitted = BOPDMD(svd_rank=order, num_trials=TRIALS, trial_size=SHARE, eig_constraints={"conjugate_pairs"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about noise, which every video has
            fitted.fit(series.T, np.arange(len(series)) / fps)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    turning = fitted.eigs.imag > 0
    frequency = fitted.eigs.imag[turning] / (2 * np.pi)
    half = NORMAL * np.abs(fitted.eigenvalues_std[turning]) / (2 * np.pi)
    with np.errstate(divide="ignore"):
        half_life = np.log(2) / -fitted.eigs.real[turning]
    columns = {
        "frequency_hz": frequency,
        "from_hz": frequency - half,
        "to_hz": frequency + half,
        "half_life_s": half_life,
        "amplitude": np.abs(fitted.amplitudes[turning]),
    }
    return pd.DataFrame(columns).sort_values("amplitude", ascending=False, ignore_index=True)
