"""The best mean of several guesses of a frame, as known frames tell it.

A frame is taken apart into bands of detail (Burt and Adelson's Laplacian pyramid, 1983), and each band of the blend is
a mean of the same band of the guesses, with weights that are never negative. They minimise the squared error on frames
that are known, and are shrunk towards the guess that was best there. Weights of fine bands may add up to less than
one, since detail that is guessed at the wrong place is worse than none; those of the coarsest band add up to one.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from linear_video.tasks.references import Values

BANDS = 5  # at most
COARSEST = 8  # pixels of the shorter side of the coarsest band, at least
SHRINKAGE = 0.02  # towards the best guess, relative to each guess's own error
MEMORY = 0.9  # weight of a test against the next one: videos change
LEAST_ERROR = 1e-6  # squared, of values in [0, 1]


def bands(frame: Values) -> list[Values]:
    """Bands of detail, from fine to coarse, each half the size of the one before; ``whole`` undoes it exactly."""
    found: list[Values] = []
    while len(found) < BANDS - 1 and min(frame.shape[:2]) >= 2 * COARSEST:
        smaller = _planes(cv2.pyrDown(frame))
        found.append(frame - _enlarged(smaller, frame))
        frame = smaller
    return [*found, frame]


def whole(parts: Sequence[Values]) -> Values:
    """The frame of such bands."""
    frame = parts[-1]
    for part in reversed(parts[:-1]):
        frame = part + _enlarged(frame, part)
    return frame


def _enlarged(frame: Values, like: Values) -> Values:
    return _planes(cv2.pyrUp(frame, dstsize=(like.shape[1], like.shape[0])))


def _planes(frame: NDArray[np.generic]) -> Values:
    return np.asarray(frame, np.float32).reshape(*frame.shape[:2], -1)


class Blend:
    """Learns from known frames how much of each guess to take, and blends.

    Args:
        names: of the guesses.
        first: the one to trust before anything is known.
    """

    def __init__(self, names: Sequence[str], first: str) -> None:
        self.names = list(names)
        self.errors = np.zeros(len(names))  # mean logarithm of each guess's squared error
        self.errors[self.names.index(first)] = -1e-9
        self.count = 0.0
        self.products: list[NDArray[np.float64]] = []  # of the guesses with each other, for each band
        self.with_truth: list[NDArray[np.float64]] = []
        self.truth: list[float] = []  # with itself
        self._weights: NDArray[np.float64] | None = None

    def learn(self, guesses: Mapping[str, Values], truth: Values) -> None:
        """Take in guesses of a frame that is known. Every test counts as much, however large its errors are."""
        made = [guesses[name] for name in self.names]
        errors = np.array([max(float(np.square(one - truth).mean()), LEAST_ERROR) for one in made])
        parts, true = [bands(one) for one in made], bands(truth)
        if not self.products:
            self.products = [np.zeros((len(made), len(made))) for _ in true]
            self.with_truth = [np.zeros(len(made)) for _ in true]
            self.truth = [0.0 for _ in true]
        self.count = MEMORY * self.count + 1
        self.errors += (np.log(errors) - self.errors) / self.count
        scale = 1 / (errors.min() * truth.size)
        for number, wanted in enumerate(true):
            flat = np.stack([one[number].ravel() for one in parts])
            self.truth[number] = MEMORY * self.truth[number] + scale * float(np.square(wanted).sum())
            self.products[number] = MEMORY * self.products[number] + scale * np.float64(flat @ flat.T)
            self.with_truth[number] = MEMORY * self.with_truth[number] + scale * np.float64(flat @ wanted.ravel())
        self._weights = None

    def without(self, name: str) -> "Blend":
        """What would have been learned without one of the guesses."""
        kept = [number for number, one in enumerate(self.names) if one != name]
        other = Blend([self.names[number] for number in kept], self.names[kept[0]])
        other.errors, other.count = self.errors[kept], self.count
        other.products = [product[np.ix_(kept, kept)] for product in self.products]
        other.with_truth, other.truth = [with_truth[kept] for with_truth in self.with_truth], list(self.truth)
        return other

    def gain(self, name: str) -> float:
        """By how many dB a guess makes the blend better, on what it has learned from."""
        return float(10 * np.log10(self.without(name).error / self.error))

    @property
    def error(self) -> float:
        """Squared error of the blend on what it has learned from, in units of the best guess's; of all bands."""
        found = sum(self.truth)
        for weights, product, with_truth in zip(self.weights, self.products, self.with_truth, strict=True):
            found += float(weights @ product @ weights - 2 * weights @ with_truth)
        return max(found, 1e-12)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Of each band, from fine to coarse, and each guess: (bands, guesses)."""
        if self._weights is None:
            self._weights = self._solved()
        return self._weights

    def _solved(self) -> NDArray[np.float64]:
        preferred = np.eye(len(self.names))[self.errors.argmin()]
        if not self.products:
            return np.asarray(preferred[None], np.float64)
        found = []
        of_bands = zip(self.products, self.with_truth, self.truth, strict=True)
        for number, (product, with_truth, truth) in enumerate(of_bands):
            errors = np.maximum(np.diag(product) - 2 * with_truth + truth, 0)
            shrinkage = SHRINKAGE * errors + 1e-6 * np.trace(product) / len(product)
            matrix, vector = product + np.diag(shrinkage), with_truth + shrinkage * preferred
            if number == len(self.products) - 1:
                one = 1e3 * np.trace(product)
                matrix, vector = matrix + one, vector + one
            matrix += 1e-12 * np.trace(matrix) * np.eye(len(matrix))
            root = np.linalg.cholesky(matrix)
            found.append(nnls(root.T, np.linalg.solve(root, vector))[0])
        solved: NDArray[np.float64] = np.stack(found)
        return solved

    def blended(self, guesses: Mapping[str, Values]) -> Values:
        """The blend of guesses of one frame."""
        weights = self.weights
        parts = {name: bands(guesses[name]) for name, w in zip(self.names, weights.T, strict=True) if w.any()}
        count = len(next(iter(parts.values())))
        weights = weights[np.minimum(np.arange(count), len(weights) - 1)]
        mixed = [
            sum(
                (np.float32(weights[n, self.names.index(name)]) * part[n] for name, part in parts.items()),
                np.float32(0),
            )
            for n in range(count)
        ]
        return whole([np.asarray(one, np.float32) for one in mixed]).clip(0, 1)

    def shares(self) -> dict[str, float]:
        """How much of each guess there is in the coarsest and the finest band: their mean."""
        return dict(zip(self.names, self.weights[[0, -1]].mean(0).tolist(), strict=True))
