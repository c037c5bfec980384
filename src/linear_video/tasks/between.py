"""Frames between known ones: guesses of the model and of references, blended by tests on the video itself."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from linear_video.clips.windows import find_cuts
from linear_video.common.errors import InputError
from linear_video.tasks import references
from linear_video.tasks.backtest import Backtest
from linear_video.tasks.blend import with_detail_of
from linear_video.tasks.parts import Frame, checked, counted, difference, halvings, smaller, to_frame, to_values
from linear_video.tasks.references import Values
from linear_video.tasks.settings import check_method

if TYPE_CHECKING:
    from linear_video.tasks.trained import TrainedModel

READ_AHEAD = 48  # frames on which methods are tested before the first result
FIRST_STEP, LATER_STEP = 4, 12  # frames from one test to the next: at first, and later
DECIDED = 6  # tests after which slow guesses that add almost nothing are left out
AROUND = 3  # frames on either side that a model sees
FINE_LINES = 480  # for larger frames, the optical flow is not fine
CUT = 0.1  # least difference that counts as a cut
MOST_REPEATED = 3  # repeats of a frame; more are a pause
DUPLICATE = 0.1  # of the usual difference; a smaller difference is a repeat of the frame
CALM = -1  # instead of a gap of 0, where almost nothing moves
CALM_MOTION = 1.0  # greatest motion in pixels from a frame to the next


class Stream:
    """Frames that are being read, which keeps the frames around the current one.

    Args:
        frames: uint8 (h, w), (h, w, 1) or (h, w, 3).
        missing: numbers of frames to ignore.
        duplicates: whether frames that repeat the one before count as missing, too.
    """

    def __init__(self, frames: Iterable[Frame], missing: frozenset[int], duplicates: bool) -> None:
        self.source, self.missing, self.duplicates = iter(frames), missing, duplicates
        self.kept: dict[int, Frame] = {}
        self.known: set[int] = set()
        self.count, self.ended = 0, False
        self.shape: tuple[int, ...] | None = None
        self.repeated = 0  # how often the last frame was repeated
        self.differences: list[float] = []  # of the last few frames that are not duplicates

    def reach(self, number: int) -> bool:
        """Read up to this frame; False if the footage ends before it."""
        while self.count <= number and not self.ended:
            frame = next(self.source, None)
            if frame is None:
                self.ended = True
                break
            frame = checked(frame, self.count, self.shape)
            self.shape = frame.shape
            self.kept[self.count] = frame
            if self._repeats(frame):
                self.repeated += 1
            else:
                self.repeated = 0
            if self.repeated > MOST_REPEATED:  # this is a pause
                self.known |= {number for number in self.kept if self.count - self.repeated < number}
                self.known -= self.missing
            elif self.count not in self.missing and not self.repeated:
                self.known.add(self.count)
            self.count += 1
        return self.count > number

    def _repeats(self, frame: Frame) -> bool:
        before = self.kept.get(self.count - 1)
        if not self.duplicates or before is None:
            return False
        change = difference(before, frame)
        usual = float(np.median(self.differences)) if self.differences else 0.0
        if change < DUPLICATE * usual:
            return True
        self.differences = [*self.differences[-8:], change]
        return False

    def around(self, time: float) -> tuple[int | None, int | None]:
        """The last known frame up to a time, and the first from it on; the same frame if the time is its own."""
        number = math.ceil(time)
        while self.reach(number) and number not in self.known:
            number += 1
        later = [known for known in self.known if known >= time]
        earlier = [known for known in self.known if known <= time]
        return max(earlier, default=None), min(later, default=None)

    def forget(self, before: int) -> None:
        """Drop frames before this one, which are no longer needed."""
        for number in [number for number in self.kept if number < before]:
            del self.kept[number]
            self.known.discard(number)


class Between:
    """Guesses of frames between known ones of a stream, and tests of these guesses.

    Args:
        trained: the model.
        stream: the frames.
        gaps: lengths of the gaps to fill, in frames, each of which is tested; 0 for times between two successive
            frames. Those are tested by how well every second frame is guessed in the video at half the size: the gap is
            twice as long, and motions are half as wide. Where almost nothing moves, noise decides, and the smaller
            video has less of it; so the test of those times (``CALM``) is at full size.
    """

    def __init__(self, trained: "TrainedModel", stream: Stream, gaps: frozenset[int]) -> None:
        check_method(trained.method, "retime")
        self.trained, self.stream, self.gaps = trained, stream, gaps
        names = ["model"] if trained.knows_any_time else []
        self.backtest = Backtest(trained.method, [*names, "optical_flow", "fine_flow", "mean"], "optical_flow")
        self.tested, self.due = 0, 0  # the frame from which the next test is possible, and from which it is wanted
        self._decided = False
        self.guesses: dict[str, Values] = {}  # of the last result

    def frame(self, time: float) -> Frame:
        """The frame at a real time.

        Raises:
            InputError: if no known frame is before or after it.
        """
        stream, self.guesses = self.stream, {}
        before, after = stream.around(time)
        if before is None and after is None:
            raise InputError("no frame of the footage is known.")
        if before is None or after is None or before == after:
            return stream.kept[after if before is None else before]  # type: ignore[index]
        share = (time - before) / (after - before)
        stream.reach(after + max(AROUND, after - before))
        if self._cut(before, after):
            return stream.kept[before if share < 0.5 else after]
        if self.backtest.method == "blend":
            self._test()
        gap = after - before - 1
        if gap == 0 and self.backtest.method == "blend":
            gap = _pace(stream.kept[before], stream.kept[after], 1)
        near = {number: stream.kept[number] for number in sorted(stream.known) if number in stream.kept}
        self.guesses = self._guesses(near, before, after, time)
        return to_frame(self.backtest.given(gap, self.guesses))

    def forget(self, number: int) -> None:
        """Drop frames long before this one, which are no longer needed; tests use the frames that are kept."""
        self.tested = max(self.tested, number - READ_AHEAD)
        self.stream.forget(self.tested - READ_AHEAD)

    def _cut(self, before: int, after: int) -> bool:
        kept, known = self.stream.kept, self.stream.known
        beside = [(before - 1, before), (after, after + 1)]
        # A gap of several frames contains the motion of all of them.
        around = [(after - before) * difference(kept[one], kept[two]) for one, two in beside if {one, two} <= known]
        if not around:
            return False
        jump = difference(kept[before], kept[after])
        return bool(find_cuts(np.array([max(around), jump]), CUT)[1])

    def _test(self) -> None:
        """Hide and guess known frames, spread over the frames read so far."""
        self.stream.reach(max(READ_AHEAD, self.stream.count) - 1)
        if 0 in self.gaps and halvings(min((self.stream.shape or (1, 1))[:2])) and "model" in self.backtest.names:
            self.backtest.names.remove("model")  # it would be needed for every second frame, and adds least there
        while self.tested + 2 * (max(self.gaps) + 1) < self.stream.count:
            if self.tested >= self.due and sum(self._test_one(self.tested, gap) for gap in self.gaps):
                self.due = self.tested + (FIRST_STEP if self.tested < READ_AHEAD else LATER_STEP)
                if len(self.backtest.scores) >= DECIDED and not self._decided:
                    self._decided = True
                    for name in ("model", "fine_flow"):
                        self.backtest.leave_out(name)
            self.tested += 1

    def _test_one(self, first: int, gap: int) -> bool:
        hidden = range(first + 1, first + 1 + max(gap, 1))
        last = hidden[-1] + 1
        near = [number for number in sorted(self.stream.known) if abs(number - first) <= 4 * (last - first) + AROUND]
        if not {first, *hidden, last} <= set(near) or self._cut(first, last):
            return False
        frames = {number: self.stream.kept[number] for number in near}
        if not gap:
            gap = _pace(frames[first], frames[last], 2)
            frames = {number: frame if gap == CALM else smaller(frame) for number, frame in frames.items()}
        shown = {number: frame for number, frame in frames.items() if number not in hidden}
        for number in hidden:
            guesses = self._guesses(shown, first, last, float(number))
            self.backtest.learn(gap, guesses, to_values(frames[number]))
        return True

    def _guesses(self, near: dict[int, Frame], before: int, after: int, time: float) -> dict[str, Values]:
        """The guesses of every method at a time between two known frames; ``near`` holds frames by number."""
        share, gap = (time - before) / (after - before), after - before
        one, two = to_values(near[before]), to_values(near[after])
        method = self.backtest.method
        wanted = {*self.backtest.names, "mean"} if method == "blend" else {method, "mean"}
        guesses = {"mean": references.mean_of_neighbours(one, two, share)}
        for name in ("optical_flow", "fine_flow"):
            if name in wanted:
                fine = name == "fine_flow" and min(one.shape[:2]) <= FINE_LINES
                guesses[name] = references.optical_flow_between(one, two, share, fine)
        outer = [near.get(before - gap), near.get(after + gap)]
        if all(frame is not None for frame in outer):
            four = [outer[0], near[before], near[after], outer[1]]
            guesses["cubic"] = references.cubic([to_values(frame) for frame in four if frame is not None], share)
        elif method == "cubic":
            guesses["cubic"] = guesses["mean"]
        if "model" in wanted:
            earliest, latest = before - AROUND + 1, after + AROUND - 1
            shown = [near.get(number) for number in range(earliest, latest + 1)]
            guesses["model"] = self._model_guess(shown, time - earliest, guesses)
        return guesses

    def _model_guess(self, frames: list[Frame | None], time: float, guesses: dict[str, Values]) -> Values:
        """The model's guess. For large frames, it is of a smaller copy, with finer detail from the optical flow."""
        shape = next(frame for frame in frames if frame is not None).shape
        whole = self.trained.fit == "whole" and "optical_flow" in guesses
        times = halvings(min(shape[:2])) if whole else 0
        shown = [None if frame is None else smaller(frame, times) for frame in frames]
        made = to_values(self.trained.model_between(shown, time))
        return with_detail_of(made, guesses["optical_flow"], times) if times else made


def _pace(before: Frame, after: Frame, steps: int) -> int:
    """``CALM`` if almost nothing moves between two frames that are ``steps`` apart, and 0 otherwise."""
    return CALM if references.motion(to_values(before), to_values(after)) <= steps * CALM_MOTION else 0


def filled(trained: "TrainedModel", frames: Iterable[Frame], missing: Iterable[int]) -> Iterator[tuple[Frame, Between]]:
    """All frames, with guesses in place of missing ones; each comes with the tests so far.

    Raises:
        InputError: if a missing frame is beyond the end.
    """
    gone = frozenset(missing)
    stream = Stream(frames, gone, duplicates=False)
    between = Between(trained, stream, frozenset(_runs(gone)) or frozenset({1}))
    number = 0
    while stream.reach(number):
        between.guesses = {}
        yield (between.frame(float(number)) if number in gone else stream.kept[number]), between
        number += 1
        between.forget(number)
    beyond = [one for one in gone if one >= stream.count]
    if beyond:
        raise InputError(f"missing names frame {min(beyond)}, but the footage has {counted(stream.count)}.")


def retimed(trained: "TrainedModel", frames: Iterable[Frame], factor: float) -> Iterator[tuple[Frame, Between]]:
    """Frames at times 0, 1/factor, 2/factor, ..., up to the last frame; each comes with the tests so far."""
    stream = Stream(frames, frozenset(), duplicates=True)
    between = Between(trained, stream, frozenset({0}))
    given = 0
    while True:
        time = given / factor
        nearest = round(time)
        time = float(nearest) if abs(time - nearest) < 1e-6 else time
        if not stream.reach(math.ceil(time)):
            break
        yield between.frame(time), between
        given += 1
        between.forget(math.floor(time))
    if stream.count < 2:
        raise InputError(f"the footage has {counted(stream.count)}, but this needs at least 2 (parameter context).")


def _runs(numbers: Iterable[int]) -> list[int]:
    """Lengths of the runs of consecutive numbers."""
    runs: list[int] = []
    last: int | None = None
    for number in sorted(numbers):
        if last is not None and number == last + 1:
            runs[-1] += 1
        else:
            runs.append(1)
        last = number
    return runs


def shown_frames(frames: Sequence[Frame | None]) -> list[Frame]:
    """Frames, with the nearest frame in place of each None."""
    there = [number for number, frame in enumerate(frames) if frame is not None]
    nearest = [min(there, key=lambda known: abs(known - number)) for number in range(len(frames))]
    return [frame for frame in (frames[number] for number in nearest) if frame is not None]
