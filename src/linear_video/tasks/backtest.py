"""Known frames are hidden and guessed, so that a video tells itself which method to believe."""

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

EXAMPLES = 7  # tests of which frames are kept to be looked at
EXAMPLE_LINES = 320  # of those, at most
FAR = 3.0  # dB below the worst clip that was kept from a model's training: what it sees is something else
WORTH = 0.05  # dB: a guess that makes the blend better by less may be left out


def psnr(guess: Values, truth: Values) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1], at most 100."""
    error = float(np.square(guess.clip(0, 1) - truth).mean())
    return float(-10 * np.log10(max(error, 1e-10)))


class Example(NamedTuple):
    """One test to be looked at: the truth and what methods made of it, by their names, and what to write above."""

    psnr: float  # dB, of the method that is given
    frames: dict[str, Frame]
    captions: dict[str, str]


class Backtest:
    """Scores of every method on frames that are known, and the blend that they lead to.

    Tests are sorted by what makes guessing harder, the ``distance``: frames ahead, or frames in a gap. The blend is
    scored too, each time before it learns of the frame: as honestly as the others.

    Args:
        method: what is to be given: ``"blend"``, or one of the guesses by its name.
        names: of the guesses that are blended.
        trusted: the guess to give while nothing is known.
    """

    def __init__(self, method: str, names: Sequence[str], trusted: str) -> None:
        self.method, self.names, self.trusted = method, list(names), trusted
        self.blends: dict[int, Blend] = {}
        self.scores: list[dict[str, float]] = []
        self._worst: Example | None = None
        self._others = EvenlySpread[Example](EXAMPLES - 1)

    def learn(self, distance: int, guesses: Mapping[str, Values], truth: Values) -> None:
        """Score guesses of a frame that is known, and learn from it; guesses beyond ``names`` are scored alone."""
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
        """Keep a test to be looked at, if it is the worst so far, or its turn."""
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
        """The worst test, and some evenly spread over the others."""
        others = [example for _, example in self._others.kept if example is not self._worst]
        return [] if self._worst is None else [self._worst, *others]

    def _blend(self, distance: int) -> Blend:
        if distance not in self.blends:
            self.blends[distance] = Blend(self.names, self.trusted)
        return self.blends[distance]

    def nearest(self, distance: int) -> Blend:
        """What was learned of the nearest distance that was tested."""
        if not self.blends:
            return Blend(self.names, self.trusted)
        return self.blends[min(self.blends, key=lambda known: abs(known - distance))]

    def given(self, distance: int, guesses: Mapping[str, Values]) -> Values:
        """What the method makes of guesses of a frame that nobody knows."""
        return self.nearest(distance).blended(guesses) if self.method == "blend" else guesses[self.method].clip(0, 1)

    def leave_out(self, name: str) -> bool:
        """Do without a guess from now on if it adds next to nothing to the blend; whether it is so."""
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
            # All are compared in the same tests: those that every one of them has seen, unless there are none.
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
        """Say in one line where the model does not help, and in one where the footage is not what it is used to.

        ``ordinary`` are the least and the greatest PSNR in dB, a frame ahead, of clips that were kept from its
        training; None where they are not known.
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
                f"that were kept from its training with {ordinary[0]:.1f} to {ordinary[1]:.1f} dB."
            )
