"""The frames after the last one: guesses of the model and of references, blended by tests on the video itself."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from linear_video.common.errors import InputError
from linear_video.tasks import references
from linear_video.tasks.backtest import Backtest
from linear_video.tasks.blend import with_detail_of
from linear_video.tasks.parts import Frame, all_checked, counted, halvings, smaller, to_frame, to_values
from linear_video.tasks.references import Values
from linear_video.tasks.settings import check_method

if TYPE_CHECKING:
    from linear_video.tasks.trained import TrainedModel

WINDOWS, APART = 12, 2  # tests of the methods at the end of a video, and frames from one test to the next
GUESSES = ("model", "optical_flow", "fine_flow", "last_frame")


def ends_of_tests(length: int, context: int, horizon: int) -> range:
    """The numbers of known frames after which tests begin, the latest first; each test sees ``context`` frames."""
    return range(length - 1, context - 1, -APART)[: WINDOWS + horizon // APART]


class Ahead:
    """Guesses of the frames after those seen, and tests of these guesses, in one video.

    Args:
        trained: the model.
        horizon: number of frames ahead.
    """

    def __init__(self, trained: "TrainedModel", horizon: int) -> None:
        check_method(trained.method, "extrapolate")
        self.trained, self.horizon = trained, horizon
        self.backtest = Backtest(trained.method, GUESSES, "optical_flow")

    def guesses(self, seen: Sequence[Frame]) -> list[dict[str, Values]]:
        """For each of the next frames, the guess of every method from the last frames seen."""
        values = [to_values(frame) for frame in list(seen)[-2:]]
        made = {
            "optical_flow": references.optical_flow(values, self.horizon),
            "fine_flow": references.optical_flow(values, self.horizon, fine=True),
            "last_frame": references.last_frame(values, self.horizon),
        }
        if "model" in self.backtest.names:
            context = list(seen)[-self.trained.context :]
            times = halvings(min(context[0].shape[:2])) if self.trained.fit == "whole" else 0
            future = self.trained.model_ahead([smaller(frame, times) for frame in context], self.horizon)
            made["model"] = [
                with_detail_of(to_values(frame), detail, times)
                for frame, detail in zip(future, made["optical_flow"], strict=True)
            ]
        return [{name: frames[lead] for name, frames in made.items()} for lead in range(self.horizon)]

    def learn(self, guesses: Sequence[Mapping[str, Values]], truth: Sequence[Frame]) -> None:
        """Score the guesses of all frames that are known by now, and learn from them."""
        for lead, (guess, frame) in enumerate(zip(guesses, truth, strict=False), 1):
            self.backtest.learn(lead, guess, to_values(frame))

    def windows(self, frames: Iterable[Frame], step: int) -> Iterator[tuple[int, list[dict[str, Values]]]]:
        """Windows all over a video, ``step`` frames apart: the number of the next frame, and the guesses from it on.

        Each window is yielded before the next frame is read, and after all methods have learned from the frames so far.
        """
        context = max(2, self.trained.context)
        seen = deque[Frame](maxlen=context)
        pending: list[tuple[int, list[dict[str, Values]]]] = []
        for number, frame in enumerate(all_checked(frames)):
            pending = [(start, guesses) for start, guesses in pending if number - start < self.horizon]
            for start, guesses in pending:
                lead = number - start
                self.backtest.learn(lead + 1, guesses[lead], to_values(frame))
            seen.append(frame)
            if len(seen) == context and (number + 1 - context) % step == 0:
                pending.append((number + 1, self.guesses(seen)))
                yield pending[-1]

    def given(self, guesses: Sequence[Mapping[str, Values]]) -> NDArray[np.uint8]:
        """The result of the chosen method from the guesses: (horizon, h, w, planes)."""
        return np.stack([to_frame(self.backtest.given(lead, guess)) for lead, guess in enumerate(guesses, 1)])

    def run(self, frames: Iterable[Frame]) -> list[dict[str, Values]]:
        """The guesses of every method for the frames after the last one, after tests on the frames before it.

        Raises:
            InputError: if there are fewer frames than the model sees.
        """
        context = max(2, self.trained.context)
        reach = WINDOWS * APART + self.horizon
        kept = deque(all_checked(frames), maxlen=context + reach)
        known = list(kept)
        if len(known) < context:
            raise InputError(
                f"the footage has {counted(len(known))}, but this needs at least {context} (parameter context)."
            )
        if self.backtest.method != "model":
            for end in reversed(ends_of_tests(len(known), context, self.horizon)):
                self.learn(self.guesses(known[:end]), known[end:])
        return self.guesses(known)
