"""The best mean of several guesses of a frame, learned from known frames.

A frame is split into bands of detail (Burt and Adelson's Laplacian pyramid, 1983). In each band the blend is

    m + sum_i w_i (g_i - m) - c h m        g_i: the guesses, m: their mean, sum_i w_i = 1, w_i >= 0, c >= 0
    h = D / (D + M)                        local energies, D of the guesses about their mean, M of the mean

so that detail on which the guesses agree is kept, and detail on which they disagree is weakened: in the wrong place,
detail is worse than none. w and c minimise the squared error on known frames, and are shrunk towards the guess that was
best there. The coarsest band has c = 0.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from linear_video.tasks.references import Values

BANDS = 5  # at most
COARSEST = 8  # least number of pixels on the shorter side of the coarsest band
SHRINKAGE = 0.05  # shrinkage towards the best guess, relative to each guess's error
LOCAL = 2.0  # pixels of a band over which energies are averaged
MEMORY = 0.8  # weight of a test relative to the next one, since videos change
LEAST_ERROR = 1e-6  # squared, of values in [0, 1]


def bands(frame: Values) -> list[Values]:
    """Bands of detail, from fine to coarse, each half the size of the one before; ``whole`` is the exact inverse."""
    found: list[Values] = []
    while len(found) < BANDS - 1 and min(frame.shape[:2]) >= 2 * COARSEST:
        smaller = _planes(cv2.pyrDown(frame))
        found.append(frame - _enlarged(smaller, frame))
        frame = smaller
    return [*found, frame]


def whole(parts: Sequence[Values]) -> Values:
    """The frame with these bands, the inverse of ``bands``."""
    frame = parts[-1]
    for part in reversed(parts[:-1]):
        frame = part + _enlarged(frame, part)
    return frame


def with_detail_of(frame: Values, other: Values, halvings: int) -> Values:
    """A frame that was halved several times, back at full size, with the finer detail of another frame."""
    return whole([*bands(other)[:halvings], frame]) if halvings else frame


def _enlarged(frame: Values, like: Values) -> Values:
    return _planes(cv2.pyrUp(frame, dstsize=(like.shape[1], like.shape[0])))


def _planes(frame: NDArray[np.generic]) -> Values:
    return np.asarray(frame, np.float32).reshape(*frame.shape[:2], -1)


class Blend:
    """Learns from known frames how much of each guess to take, and blends.

    Args:
        names: names of the guesses.
        first: the guess to trust before anything is known.
    """

    def __init__(self, names: Sequence[str], first: str) -> None:
        self.names = list(names)
        self.errors = np.zeros(len(names))  # mean logarithm of each guess's squared error
        self.errors[self.names.index(first)] = -1e-9
        self.count = 0.0
        # For each band, the products of its columns: differences g_i - m, -h m, and the truth minus m.
        self.products: list[NDArray[np.float64]] = []
        self._weights: NDArray[np.float64] | None = None

    def learn(self, guesses: Mapping[str, Values], truth: Values) -> None:
        """Learn from guesses of a known frame. Every test counts equally, however large its errors are."""
        errors = np.array([max(float(np.square(guesses[n] - truth).mean()), LEAST_ERROR) for n in self.names])
        scale = 1 / (errors.min() * truth.size)
        found = []
        for (mean, differences, doubtful), wanted in zip(self._columns(guesses), bands(truth), strict=True):
            columns = np.concatenate((differences, -doubtful[None], (wanted - mean)[None])).reshape(
                len(self.names) + 2, -1
            )
            found.append(scale * np.float64(columns @ columns.T))
        before = self.products or [np.zeros_like(one) for one in found]
        self.products = [MEMORY * old + new for old, new in zip(before, found, strict=True)]
        self.count = MEMORY * self.count + 1
        self.errors += (np.log(errors) - self.errors) / self.count
        self._weights = None

    def _columns(self, guesses: Mapping[str, Values]) -> list[tuple[Values, Values, Values]]:
        """For each band, the mean m, the differences from it (guesses, h, w, planes), and h m."""
        of_bands = [np.stack(parts) for parts in zip(*(bands(guesses[name]) for name in self.names), strict=True)]
        found = []
        for number, parts in enumerate(of_bands):
            mean = parts.mean(axis=0)
            differences = parts - mean
            doubtful = np.zeros_like(mean)
            if number < len(of_bands) - 1 and len(parts) > 1:
                disagreement, energy = _local(np.square(differences).mean(axis=0)), _local(np.square(mean))
                doubtful = disagreement / (disagreement + energy + 1e-12) * mean
            found.append((mean, differences, doubtful))
        return found

    def without(self, name: str) -> "Blend":
        """The blend that would have been learned without one of the guesses (except that h still includes it)."""
        kept = [number for number, one in enumerate(self.names) if one != name]
        other = Blend([self.names[number] for number in kept], self.names[kept[0]])
        other.errors, other.count = self.errors[kept], self.count
        last = len(self.names)
        about = np.zeros((len(kept) + 2, last + 2))  # columns of the others, of these
        about[np.arange(len(kept) + 2), [*kept, last, last + 1]] = 1
        about[[*range(len(kept)), len(kept) + 1], :last] -= np.isin(np.arange(last), kept) / len(kept)
        other.products = [about @ product @ about.T for product in self.products]
        return other

    def gain(self, name: str) -> float:
        """The gain in dB that a guess brings to the blend, on the frames that it has learned from."""
        return float(10 * np.log10(self.without(name).error / self.error))

    @property
    def error(self) -> float:
        """Squared error of the blend on the frames it has learned from, over all bands, relative to the best guess."""
        found = 0.0
        for weights, product in zip(self.weights, self.products, strict=True):
            left = np.append(weights, -1)
            found += float(left @ product @ left)
        return max(found, 1e-12)

    @property
    def weights(self) -> NDArray[np.float64]:
        """For each band, from fine to coarse, w of each guess, and c: (bands, guesses + 1)."""
        if self._weights is None:
            self._weights = self._solved()
        return self._weights

    def _solved(self) -> NDArray[np.float64]:
        count = len(self.names)
        preferred = np.append(np.eye(count)[self.errors.argmin()], 0)
        found = [preferred] if not self.products else []
        for product in self.products:
            matrix, vector, truth = product[:-1, :-1], product[:-1, -1], product[-1, -1]
            errors = np.maximum(np.diag(matrix) - 2 * vector + truth, 0)
            shrinkage = SHRINKAGE * np.append(errors[:-1], matrix[-1, -1]) + 1e-6 * truth + 1e-12
            one = np.append(np.ones(count), 0)
            large = 1e3 * (np.trace(matrix) + truth) + 1e-9
            matrix = matrix + np.diag(shrinkage) + large * np.outer(one, one)
            root = np.linalg.cholesky(matrix)
            wanted = vector + shrinkage * preferred + large * one
            found.append(nnls(root.T, np.linalg.solve(root, wanted))[0])
        solved: NDArray[np.float64] = np.stack(found)
        return solved

    def blended(self, guesses: Mapping[str, Values]) -> Values:
        """The blend of guesses of one frame."""
        mixed = []
        for number, (mean, differences, doubtful) in enumerate(self._columns(guesses)):
            weights = self.weights[min(number, len(self.weights) - 1)].astype(np.float32)
            mixed.append(mean + np.tensordot(weights[:-1], differences, 1) - weights[-1] * doubtful)
        return whole(mixed).clip(0, 1)

    def shares(self) -> dict[str, float]:
        """The share of each guess: the mean of its shares in the coarsest and the finest band."""
        return dict(zip(self.names, self.weights[[0, -1], :-1].mean(0).tolist(), strict=True))


def _local(energy: Values) -> Values:
    """Mean over planes and a neighbourhood, (h, w, 1)."""
    blurred = cv2.GaussianBlur(np.ascontiguousarray(energy.mean(axis=2)), (0, 0), LOCAL)
    return np.asarray(blurred, np.float32)[..., None]
