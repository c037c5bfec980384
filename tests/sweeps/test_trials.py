"""Trials in Optuna's storage: each setting is run by one process, whatever becomes of the others."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from linear_video.sweeps.study import Range, Study
from linear_video.sweeps.trials import ENDED, ERROR, HOST, LOCK, MOST_DEATHS, Trials, open_storage, settings_of

SMALLEST: dict[str, Any] = {"pipelines": "ile", "metric": "psnr.0", "direction": "maximize"}
GRID = Study(**SMALLEST, cases={"a": None, "b": {"x": 1}, "c": {"x": 2}}, seeds=[0, 1])
SEARCH = Study(**SMALLEST, search={"x": Range(low=0.0, high=1.0), "y": [[1, 2], 3]}, trials=4, seeds=[0, 1])


def machine(folder: Path, study: Study = GRID, place: str = "journal") -> Trials:
    """What one of several machines sees."""
    storage = open_storage(f"sqlite:///{folder}/optuna.db" if place == "database" else str(folder / "optuna.journal"))
    return Trials(study, optuna.create_study(study_name="s", storage=storage, load_if_exists=True))


def finish(trials: Trials, trial: FrozenTrial, value: float = 0.0) -> None:
    trials.optuna.tell(trial.number, value)
    trials.own.discard(trial.number)


def keys(trials: Trials, *states: TrialState) -> list[str]:
    found = [settings_of(trial) for trial in trials.all() if trial.state in states]
    return sorted(settings.key for settings in found if settings is not None)


def begun_elsewhere(trials: Trials, lock: Path) -> FrozenTrial:
    """A trial in work whose process, of another command on this machine, has that lock."""
    trial = trials.next()
    assert trial is not None
    trials.own.clear()
    for name, value in ((HOST, socket.gethostname()), (LOCK, str(lock))):
        trials.optuna._storage.set_trial_user_attr(trial._trial_id, name, value)
    return trial


@pytest.mark.parametrize("place", ["journal", "database"])
def test_two_machines_share_a_grid(tmp_path: Path, place: str) -> None:
    both = [machine(tmp_path, place=place), machine(tmp_path, place=place)]
    number = 0
    while (trial := both[number % 2].next()) is not None:
        finish(both[number % 2], trial)
        number += 1
    assert number == both[0].wanted() == 6
    assert keys(both[0], TrialState.COMPLETE) == sorted(settings.key for settings in GRID.grid())


@pytest.mark.parametrize("study", [GRID, SEARCH], ids=["grid", "search"])
def test_machines_at_the_same_moment_run_nothing_twice(tmp_path: Path, study: Study) -> None:
    def work() -> None:
        trials = machine(tmp_path, study)
        while (trial := trials.next()) is not None or any(
            one.state in (TrialState.RUNNING, TrialState.WAITING) for one in trials.all()
        ):
            if trial is not None:
                finish(trials, trial)

    machine(tmp_path, study)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = keys(machine(tmp_path, study), TrialState.COMPLETE)
    assert len(done) == len(set(done)) == machine(tmp_path, study).wanted()


def test_a_search_runs_each_choice_with_each_seed(tmp_path: Path) -> None:
    trials = machine(tmp_path, SEARCH)
    found = []
    while (trial := trials.next()) is not None:
        settings = settings_of(trial)
        assert settings is not None
        found.append(settings)
        finish(trials, trial)
    assert len(found) == trials.wanted() == 8
    assert len({settings.group for settings in found}) == 4
    assert sorted(str(settings.seed) for settings in found) == ["0"] * 4 + ["1"] * 4
    assert all(0 <= settings.values["x"] <= 1 and settings.values["y"] in ([1, 2], 3) for settings in found)
    more = machine(tmp_path, SEARCH.model_copy(update={"trials": 5}))
    assert more.next() is not None


def test_few_choices_do_not_go_on_for_ever(tmp_path: Path) -> None:
    study = Study(**SMALLEST, search={"y": [1, 2]}, sampler="tpe", trials=6)
    trials, count = machine(tmp_path, study), 0
    while (trial := trials.next()) is not None:
        finish(trials, trial)
        count += 1
    assert count == 6


def test_a_killed_trial_runs_once_more_with_what_it_has_reported(tmp_path: Path) -> None:
    first = machine(tmp_path)
    lock = tmp_path / "0.lock"
    FileLock(lock).acquire().lock.release()  # the process is gone
    dead = begun_elsewhere(first, lock)
    first.optuna._storage.set_trial_intermediate_value(dead._trial_id, 20, 0.5)
    others = [machine(tmp_path), machine(tmp_path)]
    for other in others:
        other.fail_dead()
    assert first.optuna.get_trials()[dead.number].state == TrialState.FAIL
    again = list[FrozenTrial]()
    while (trial := others[len(again) % 2].next()) is not None:
        again.append(trial)
    same = [trial for trial in again if settings_of(trial) == settings_of(dead)]
    assert len(again) == 6
    assert [trial.intermediate_values for trial in same] == [{20: 0.5}]
    assert others[0].folder_number(same[0]) == dead.number


def test_what_lives_is_left_alone(tmp_path: Path) -> None:
    first = machine(tmp_path)
    lock = tmp_path / "0.lock"
    with FileLock(lock):
        trial = begun_elsewhere(first, lock)
        first.fail_dead()
        assert first.optuna.get_trials()[trial.number].state == TrialState.RUNNING
    first.fail_dead()
    assert first.optuna.get_trials()[trial.number].state == TrialState.FAIL


def test_a_process_of_another_machine_is_gone_once_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine(tmp_path), machine(tmp_path)
    trial = there.next()
    assert trial is not None
    now = 0.0
    monkeypatch.setattr("linear_video.sweeps.trials.time.monotonic", lambda: now)
    states = []
    for beat, moment in ((0, 0.0), (1, 150.0), (1, 340.0), (1, 360.0)):
        there.optuna._storage.set_trial_user_attr(trial._trial_id, "beat", beat)
        now = moment
        here.fail_dead()
        states.append(here.optuna.get_trials()[trial.number].state.name)
    assert states == ["RUNNING", "RUNNING", "RUNNING", "FAIL"]


@pytest.mark.parametrize(("reason", "times"), [(None, MOST_DEATHS), (ERROR, 1), (ENDED, 5)])
def test_what_fails_is_given_up_unless_the_user_ended_it(tmp_path: Path, reason: str | None, times: int) -> None:
    study = Study(**SMALLEST)
    trials = machine(tmp_path, study)
    for number in range(times):
        assert not trials.given_up()
        trial = trials.next()
        assert trial is not None
        assert trial.number == number
        if reason is not None:
            trials.optuna._storage.set_trial_user_attr(trial._trial_id, reason, "x")
        trials.fail(trial.number)
    assert len(trials.given_up()) == (reason != ENDED)
    assert (trials.next() is None) == (reason != ENDED)
    trials.forgive()
    assert reason == ENDED or trials.next() is not None


def test_a_case_that_is_no_longer_in_the_study_does_not_run(tmp_path: Path) -> None:
    assert machine(tmp_path).next() is not None  # which enqueues all
    fewer = machine(tmp_path, GRID.model_copy(update={"cases": {"b": {"x": 3}}}))
    found = []
    while (trial := fewer.next()) is not None:
        found.append(json.loads(trial.user_attrs["settings"])[:2])
    assert found == [["b", {"x": 3}]] * 2


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    machine(tmp_path).optuna.set_user_attr("a", 1)
    with (tmp_path / "optuna.journal").open("ab") as file:
        file.write(b'{"op_code": 2, "wor')  # a full disk
    machine(tmp_path).optuna.set_user_attr("b", 2)
    machine(tmp_path).optuna.set_user_attr("c", 3)
    assert machine(tmp_path).optuna.user_attrs == {"a": 1, "b": 2, "c": 3}
    assert all(json.loads(line) for line in (tmp_path / "optuna.journal").read_text().splitlines())


def test_what_two_machines_have_enqueued_at_once_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [machine(tmp_path), machine(tmp_path)]
    both[0]._enqueue_missing()
    with monkeypatch.context() as changed:  # it has looked before the other one wrote
        changed.setattr(both[1], "all", list)
        both[1]._enqueue_missing()
    assert len(both[0].all()) == 12
    found = list[str]()
    while (trial := both[len(found) % 2].next()) is not None:
        found.append(trial.user_attrs["settings"])
    assert len(found) == len(set(found)) == 6
    assert all(trials.own == {0, 2, 4} or trials.own == {1, 3, 5} for trials in both)


def test_what_another_machine_has_asked_for_meanwhile_is_not_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SEARCH.model_copy(update={"seeds": []})
    both = [machine(tmp_path, study), machine(tmp_path, study)]
    while both[0].next() is not None:
        pass
    monkeypatch.setattr(both[1], "_are_more", iter([True, False]).__next__)  # it has looked before
    assert both[1].next() is None
    assert len(both[1].all()) == study.trials
    assert not both[1].own
