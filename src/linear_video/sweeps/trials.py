"""The trials of a sweep in Optuna's storage: which are wanted, which is next, and whose process is gone.

Any number of processes on any number of machines may do this at once. Two that ask for the same settings are told apart
by the numbers of their trials, which the storage gives out one by one: the later trial is dropped.
"""

import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from linear_video.common.errors import InputError
from linear_video.sweeps.study import Choices, Range, Settings, Study
from linear_video.tracking.locks import is_alive

JOURNAL = "optuna.journal"  # file in the sweep's folder
# Attributes of a trial: its settings; whether they were known before it was asked for; its host, its process, the lock
# of the process, and a number that grows as long as the process lives; why it failed; whether it was dropped; whether
# the user ended it.
SETTINGS, PLANNED, HOST, PROCESS, LOCK, BEAT = "settings", "planned", "host", "process", "lock", "beat"
ERROR, DROPPED, ENDED = "error", "dropped", "ended"
BEATS_EVERY = 20  # seconds
SILENT = 10 * BEATS_EVERY  # seconds, after which a process of another machine counts as gone
MOST_DEATHS = 3  # processes of one setting that may be killed; after that, the setting itself may be what kills
IN_WORK = (TrialState.RUNNING, TrialState.WAITING)
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Lock(BaseJournalFileLock):
    """A lock on the journal that goes with its process; whoever has it removes a line that was cut off."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._lock = journal, FileLock(journal.with_suffix(".lock"), thread_local=False)

    def acquire(self) -> bool:
        self._lock.acquire()
        if self._journal.exists() and (size := self._journal.stat().st_size):
            with self._journal.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a full disk or a power failure; only ever the last line
                    file.seek(0)
                    file.truncate(file.read(size).rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()


def open_storage(place: str) -> BaseStorage:
    """Optuna's storage: a database, or a journal if ``place`` is the path of a file.

    Raises:
        InputError: if the database cannot be used.
    """
    if "://" not in place:
        return JournalStorage(JournalFileBackend(place, _Lock(Path(place))))
    try:
        return RDBStorage(place)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        message = " ".join(str(error).split())
        raise InputError(f"the storage {place.split('://')[0]}://... cannot be used ({message}).") from error


def settings_of(trial: FrozenTrial) -> Settings | None:
    """The settings of a trial; None if none were chosen yet."""
    noted = trial.user_attrs.get(SETTINGS)
    return None if noted is None else Settings(*json.loads(noted))


class Trials:
    """The trials of one sweep, as seen by one process that starts some of them.

    Attributes:
        own: numbers of trials in work whose processes this process watches.
        forgiven: numbers of failed trials whose settings are to run again.
    """

    def __init__(self, study: Study, optuna_study: optuna.Study) -> None:
        self.study, self.optuna = study, optuna_study
        self.own, self.forgiven = set[int](), set[int]()
        self._beats: dict[int, tuple[Any, float]] = {}  # last one of each trial of another process, and when it came

    def all(self) -> list[FrozenTrial]:
        """Those of this study's settings, without what was dropped."""
        trials = [t for t in self.optuna.get_trials(deepcopy=False) if DROPPED not in t.user_attrs]
        if not self.study.is_grid:
            return trials
        keys = {settings.key for settings in self.study.grid()}
        return [trial for trial in trials if (found := settings_of(trial)) is not None and found.key in keys]

    def forgive(self) -> None:
        """Let the settings of all failed trials run again."""
        self.forgiven = {trial.number for trial in self.all() if trial.state == TrialState.FAIL}

    def wanted(self) -> int:
        """How many trials are done at the end."""
        seeds = len(self.study.all_seeds)
        return sum(1 for _ in self.study.grid()) if self.study.trials is None else self.study.trials * seeds

    def given_up(self) -> list[FrozenTrial]:
        """The last trial of each setting that failed, and will not run again."""
        trials, failed = self.all(), dict[str, FrozenTrial]()
        for trial in trials:
            if (settings := settings_of(trial)) is not None and self._is_given_up(_same(trials, settings)):
                failed[settings.key] = trial
        return list(failed.values())

    def fail_dead(self) -> None:
        """Mark trials as failed whose process is gone."""
        for trial in self.all():
            if trial.state == TrialState.RUNNING and trial.number not in self.own and self._is_dead(trial):
                self.fail(trial.number)

    def fail(self, number: int) -> None:
        """Mark a trial as failed, unless it is over."""
        with suppress(UpdateFinishedTrialError):  # another process was faster
            self.optuna.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def next(self) -> FrozenTrial | None:
        """A trial that is to run now, in work from here on; None if there is none at the moment."""
        self._enqueue_missing()
        while self._are_more():
            trial = self.optuna.ask()
            self.own.add(trial.number)
            if SETTINGS not in trial.user_attrs and not self._is_beyond(trial.number):
                self._choose(trial)
            frozen = self._trial(trial.number)
            if self._is_needed(frozen):
                return frozen
            trial.set_user_attr(DROPPED, True)
            self.fail(trial.number)
            self.own.discard(trial.number)
        return None

    def folder_number(self, trial: FrozenTrial) -> int:
        """Number of the first trial with the same settings, whose folder has what is done already."""
        settings = settings_of(trial)
        assert settings is not None
        return min(other.number for other in _same(self.optuna.get_trials(deepcopy=False), settings))

    def _is_needed(self, trial: FrozenTrial) -> bool:
        """Whether a trial that was asked for is one of the study, and none before it has the same settings."""
        settings, trials = settings_of(trial), self.all()
        if settings is None or trial.number not in [other.number for other in trials]:
            return False
        earlier = [other for other in _same(trials, settings) if other.number < trial.number]
        return PLANNED not in trial.user_attrs or all(other.state == TrialState.FAIL for other in earlier)

    def _trial(self, number: int) -> FrozenTrial:
        return self.optuna.get_trials(deepcopy=False)[number]

    def _enqueue_missing(self) -> None:
        trials = self.all()
        for settings in self._planned(trials):
            same = _same(trials, settings)
            if any(trial.state in (*IN_WORK, *DONE) for trial in same) or self._is_given_up(same):
                continue
            known = {name: label(value) for name, value in settings.values.items()}
            waiting = optuna.create_trial(
                state=TrialState.WAITING,
                params=known,
                distributions={name: distribution(self.study.search[name]) for name in known},
                user_attrs={SETTINGS: settings.key, PLANNED: True},
                intermediate_values=same[-1].intermediate_values if same else {},
            )
            self.optuna.add_trial(waiting)

    def _planned(self, trials: Sequence[FrozenTrial]) -> list[Settings]:
        """Settings that are known: all of a grid; of a search, those that were chosen, with each seed."""
        if self.study.is_grid:
            return list(self.study.grid())
        chosen = {settings.group: settings for trial in trials if (settings := settings_of(trial)) is not None}
        return [settings._replace(seed=seed) for settings in chosen.values() for seed in self.study.all_seeds]

    def _is_given_up(self, same: Sequence[FrozenTrial]) -> bool:
        """Whether trials of one setting say that it cannot run."""
        failed = [t for t in same if t.state == TrialState.FAIL and t.number not in self.forgiven]
        deaths = [trial for trial in failed if ENDED not in trial.user_attrs]
        return any(ERROR in trial.user_attrs for trial in failed) or len(deaths) >= MOST_DEATHS

    def _are_more(self) -> bool:
        waiting = any(trial.state == TrialState.WAITING for trial in self.optuna.get_trials(deepcopy=False))
        return waiting or not (self.study.is_grid or self._is_beyond(None))

    def _is_beyond(self, number: int | None) -> bool:
        """Whether a trial of this number is one more than the study asks for; None for that which comes next."""
        if self.study.trials is None:
            return True
        earlier = [trial for trial in self.all() if number is None or trial.number < number]
        asked = [t for t in earlier if PLANNED not in t.user_attrs and (SETTINGS in t.user_attrs or t.state in IN_WORK)]
        return len(asked) >= self.study.trials

    def _choose(self, trial: optuna.Trial) -> None:
        values = {}
        for name, choices in self.study.search.items():
            kind = distribution(choices)
            if isinstance(kind, CategoricalDistribution) and isinstance(choices, list):
                labels = {label(value): value for value in choices}
                values[name] = labels[trial.suggest_categorical(name, list(kind.choices))]
            elif isinstance(kind, IntDistribution):
                values[name] = trial.suggest_int(name, kind.low, kind.high, log=kind.log)
            elif isinstance(kind, FloatDistribution):
                values[name] = trial.suggest_float(name, kind.low, kind.high, log=kind.log)
        trial.set_user_attr(SETTINGS, Settings("", {}, values, self.study.all_seeds[0]).key)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        """Whether the process of a trial is gone, of which this process only knows what the storage says."""
        lock = Path(trial.user_attrs.get(LOCK, ""))
        if trial.user_attrs.get(HOST) == socket.gethostname() and lock.is_file():
            return not is_alive(lock)
        beat, now = trial.user_attrs.get(BEAT), time.monotonic()
        if trial.number not in self._beats or self._beats[trial.number][0] != beat:
            self._beats[trial.number] = beat, now
        return now - self._beats[trial.number][1] > SILENT


def label(value: Any) -> bool | int | float | str | None:
    """A value as Optuna takes it as one of several: a list becomes its text."""
    return json.dumps(value) if isinstance(value, list) else value


def distribution(choices: Choices) -> BaseDistribution:
    """What Optuna calls a list or a range."""
    if not isinstance(choices, Range):
        return CategoricalDistribution([label(value) for value in choices])
    if isinstance(choices.low, int) and isinstance(choices.high, int):
        return IntDistribution(choices.low, choices.high, log=choices.log)
    return FloatDistribution(choices.low, choices.high, log=choices.log)


def _same(trials: Sequence[FrozenTrial], settings: Settings) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.user_attrs.get(SETTINGS) == settings.key]
