"""Backtests: known frames are hidden and guessed, so that the video itself tells which method to trust."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from linear_video.tasks.blend import Blend
from linear_video.tasks.parts import EvenlySpread, Frame, to_frame
from linear_video.tasks.references import Values

logger = logging.getLogger(__name__)

EXAMPLES = 7  # number of tests whose frames are kept, to be looked at
EXAMPLE_LINES = 320  # largest number of lines of those frames
FAR = 3.0  # dB below the worst clip that was held out of a model's training: the footage is something else
WORTH = 0.05  # dB: a guess that improves the blend by less may be left out


def psnr(guess: Values, truth: Values) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1], at most 100."""
    error = float(np.square(guess.clip(0, 1) - truth).mean())
    return float(-10 * np.log10(max(error, 1e-10)))


class Example(NamedTuple):
    """One test to be looked at: the truth and the methods' guesses, by name, and captions."""

    psnr: float  # dB, of the chosen method
    frames: dict[str, Frame]
    captions: dict[str, str]


class Backtest:
    """Scores of every method on known frames, and the blend that follows from them.

    Tests are grouped by their ``distance``, which makes guessing harder: frames ahead, or frames in a gap. The blend is
    scored too, each time before it learns from the frame, so its score is as fair as the others.

    Args:
        method: the method whose result is given: ``"blend"``, or the name of a guess.
        names: names of the guesses that are blended.
        trusted: the guess that is given as long as nothing is known.
    """

    def __init__(self, method: str, names: Sequence[str], trusted: str) -> None:
        self.method, self.names, self.trusted = method, list(names), trusted
        self.blends: dict[int, Blend] = {}
        self.scores: list[dict[str, float]] = []
        self._worst: Example | None = None
        self._others = EvenlySpread[Example](EXAMPLES - 1)

    def learn(self, distance: int, guesses: Mapping[str, Values], truth: Values) -> None:
        """Score guesses of a known frame, and learn from it; guesses that are not in ``names`` are only scored."""
        blend = self._blend(distance)
        scored = {name: psnr(guess, truth) for name, guess in guesses.items()}
        shown = {"truth": truth}
        if blend.count:
            shown["blend"] = blend.blended(guesses)
            scored["blend"] = psnr(shown["blend"], truth)
        self.scores.append({"distance": distance, **scored})
        if self.method in scored:
            self._keep({**shown, **guesses}, scored)
        blend.learn(guesses, truth)

    def _keep(self, frames: Mapping[str, Values], scored: Mapping[str, float]) -> None:
        """Keep a test to be looked at, if it is the worst so far, or one of those spread evenly over the tests."""
        worse = self._worst is None or scored[self.method] < self._worst.psnr
        if not worse and not self._others.due:
            self._others.skip()
            return
        height, width = frames["truth"].shape[:2]
        lines = min(height, EXAMPLE_LINES)
        size = (max(1, round(width * lines / height)), lines)
        smaller = {name: cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for name, frame in frames.items()}
        captions = {name: f", {scored[name]:.1f} dB" if name in scored else "" for name in frames}
        example = Example(
            scored[self.method],
            {name: to_frame(frame).reshape(*size[::-1], -1) for name, frame in smaller.items()},
            captions,
        )
        if worse:
            self._worst = example
        self._others.add(example)

    def examples(self) -> list[Example]:
        """The worst test, and some tests spread evenly over the others."""
        others = [example for _, example in self._others.kept if example is not self._worst]
        return [] if self._worst is None else [self._worst, *others]

    def _blend(self, distance: int) -> Blend:
        if distance not in self.blends:
            self.blends[distance] = Blend(self.names, self.trusted)
        return self.blends[distance]

    def nearest(self, distance: int) -> Blend:
        """The blend of the nearest distance that was tested."""
        if not self.blends:
            return Blend(self.names, self.trusted)
        return self.blends[min(self.blends, key=lambda known: abs(known - distance))]

    def given(self, distance: int, guesses: Mapping[str, Values]) -> Values:
        """The result of the chosen method from guesses of an unknown frame."""
        return self.nearest(distance).blended(guesses) if self.method == "blend" else guesses[self.method].clip(0, 1)

    def leave_out(self, name: str) -> bool:
        """Leave out a guess from now on if it adds almost nothing to the blend; returns whether that is so."""
        if name not in self.names or len(self.names) == 1 or not self.blends:
            return False
        if max(blend.gain(name) for blend in self.blends.values()) > WORTH:
            return False
        for distance, blend in self.blends.items():
            self.blends[distance] = blend.without(name)
        self.names.remove(name)
        return True

    def table(self) -> pd.DataFrame:
        """A row for each distance and method: tests, PSNR in dB, and the shares of the blend."""
        rows = []
        if not self.scores:
            return pd.DataFrame(columns=["distance", "method", "tests", "psnr", "share"])
        scores = pd.DataFrame(self.scores)
        for distance in sorted(set(scores["distance"].astype(int))):
            group = scores[scores["distance"] == distance].drop(columns="distance")
            # All methods are compared on the tests that every one of them has seen, unless there are none.
            group = complete if len(complete := group.dropna()) else group
            shares = self.blends[distance].shares()
            for name in map(str, group.columns):
                values = group[name].dropna()
                if values.empty:
                    continue
                row = {"distance": distance, "method": name, "tests": len(values), "psnr": values.mean()}
                rows.append(row | {"share": shares.get(name, np.nan)})
        return pd.DataFrame(rows)

    def warn(self, footage: str, ordinary: tuple[float, float] | None) -> None:
        """Warn in one line if the model does not help, and in another if the footage is unlike its training clips.

        ``ordinary`` are the least and the greatest PSNR in dB, one frame ahead, of clips that were held out of its
        training; None if they are not known.
        """
        table = self.table()
        if "model" not in set(table["method"]):
            return
        means = table.groupby("method")["psnr"].mean()
        others = means.drop(["model", "blend"], errors="ignore")
        if len(others) and means["model"] < others.max():
            logger.warning(
                f"{footage}: the model alone is worse here than {str(others.idxmax()).replace('_', ' ')} "
                f"({means['model']:.1f} dB against {others.max():.1f} dB on known frames)."
            )
        of_model = table[table["method"] == "model"].set_index("distance")["psnr"]  # not at every distance
        nearest = of_model[of_model.index.min()]
        if ordinary is not None and nearest < ordinary[0] - FAR:
            logger.warning(
                f"{footage}: the model does not fit. It guesses known frames with {nearest:.1f} dB, and clips "
                f"held out of its training with {ordinary[0]:.1f} to {ordinary[1]:.1f} dB."
            )
