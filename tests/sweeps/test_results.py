"""The table of a sweep, and what a trial tells of its training."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from linear_video.sweeps.results import Results
from linear_video.sweeps.running import Pruned, _link_clips, _Watcher, numbers
from linear_video.sweeps.study import Range, Settings, Study
from linear_video.sweeps.trials import Trials
from tests.sweeps.test_trials import SMALLEST, machine

EXPERIMENTS = ["ile.moving_symbols", "lds.moving_symbols"]


def tell(trials: Trials, settings: Settings, psnr: float, state: TrialState = TrialState.COMPLETE) -> None:
    scores = {"ile.moving_symbols": {"psnr.0": psnr, "bits": psnr / 8}, "lds.moving_symbols": {"psnr.0": 3.0}}
    attributes: dict[str, Any] = {"settings": settings.key, "scores": scores}
    trials.optuna.add_trial(
        optuna.create_trial(state=state, value=psnr if state == TrialState.COMPLETE else None, user_attrs=attributes)
    )


def test_the_table_has_means_and_extremes_over_seeds_in_the_order_of_the_grid(tmp_path: Path) -> None:
    study = Study(**SMALLEST, columns=["bits"], cases={"a": None, "b": {"x": 1}, "c": None}, seeds=[0, 1, 2])
    trials = machine(tmp_path, study)
    values = {"a": (16.0, 20.0, 18.0), "b": (8.0, 24.0, 22.0)}
    for settings in reversed([one for one in study.grid() if one.case in values]):
        tell(trials, settings, values[settings.case][settings.seed or 0])
    tell(trials, next(one for one in study.grid() if one.case == "c"), 99.0, TrialState.FAIL)
    results = Results(study, trials, tmp_path, EXPERIMENTS)
    table = results.table()
    assert list(table["case"]) == ["a", "a", "b", "b"]
    assert list(table["model"]) == ["ile", "lds"] * 2
    assert list(table["trials"]) == [3] * 4
    assert list(table["psnr.0"]) == [18.0, 3.0, 18.0, 3.0]
    assert list(table["psnr.0 least"]) == [16.0, 3.0, 8.0, 3.0]
    assert list(table["psnr.0 greatest"]) == [20.0, 3.0, 24.0, 3.0]
    assert table["bits"].iloc[0] == 2.25
    assert math.isnan(table["bits"].iloc[1])
    assert list(results.shown(table)["psnr.0"])[:2] == ["18 (16 to 20)", "3 (3 to 3)"]


@pytest.mark.parametrize(("direction", "order"), [("maximize", [3, 1, 2]), ("minimize", [2, 1, 3])])
def test_a_search_shows_the_best_first(tmp_path: Path, direction: str, order: list[int]) -> None:
    search: dict[str, Any] = {"m.x": Range(low=1, high=3)}
    study = Study(**SMALLEST | {"direction": direction}, search=search, trials=3)
    trials = machine(tmp_path, study)
    for x, psnr in ((1, 20.0), (2, 19.0), (3, 22.0)):
        tell(trials, Settings("", {}, {"m.x": x}, None), psnr)
    results = Results(study, trials, tmp_path, EXPERIMENTS[:1])
    assert list(results.table()["m.x"]) == order
    assert list(results.shown(results.table()).columns) == ["x", "model", "trials", "psnr.0"]


def test_all_numbers_of_scores_are_kept_by_their_place() -> None:
    scores = {"psnr": [1, 2.5], "synthesis": {"mean_run": 3}, "model": "ile", "none": None, "true": True}
    assert dict(numbers(scores)) == {"psnr.0": 1.0, "psnr.1": 2.5, "synthesis.mean_run": 3.0}


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
def test_a_training_that_is_worse_than_the_median_is_pruned(direction: Any, sign: int) -> None:
    study = optuna.create_study(direction=direction, pruner=MedianPruner(n_startup_trials=3))
    for losses in ([3.0, 2.0], [4.0, 3.0], [5.0, 4.0]):
        trial = study.ask()
        watcher = _Watcher(trial, sign)
        for step, loss in enumerate(losses):
            watcher(step, 5, loss)
        study.tell(trial, 1.0)
    good, bad = _Watcher(study.ask(), sign), _Watcher(study.ask(), sign)
    good(0, 5, 3.5)
    _Watcher(good.trial, sign)(0, 5, 9.0)  # told before, by a training that was killed after it
    good(1, 5, 1.0)
    bad(0, 0, 6.0)  # it is over anyway
    with pytest.raises(Pruned):
        bad(0, 5, 6.0)


def test_trials_share_clips_of_the_same_settings(tmp_path: Path) -> None:
    shared = {"symbols": tmp_path / "clips/symbols-1"}
    for number in (0, 1, 1):  # once more after a kill
        _link_clips(tmp_path / f"trials/{number}", shared)
    (tmp_path / "trials/0/03_primary/symbols").resolve().mkdir()
    (tmp_path / "trials/0/03_primary/symbols/frames.npy").write_text("frames")
    (tmp_path / "trials/0/.stamps/symbols.make.json").resolve().write_text("stamp")
    (tmp_path / "trials/0/.stamps/ile.symbols.train.json").write_text("its own")
    assert (tmp_path / "trials/1/03_primary/symbols/frames.npy").read_text() == "frames"
    assert (tmp_path / "trials/1/.stamps/symbols.make.json").read_text() == "stamp"
    assert not (tmp_path / "trials/1/.stamps/ile.symbols.train.json").exists()


def test_the_best_is_the_mean_over_all_seeds(tmp_path: Path) -> None:
    """A setting that has run with its luckiest seed alone comes last."""
    study = Study(**SMALLEST, search={"m.x": Range(low=1, high=3)}, trials=3, seeds=[0, 1])
    trials = machine(tmp_path, study)
    for x, seed, psnr in ((1, 0, 30.0), (2, 0, 25.0), (2, 1, 15.0), (3, 0, 22.0), (3, 1, 20.0)):
        tell(trials, Settings("", {}, {"m.x": x}, seed), psnr)
    results = Results(study, trials, tmp_path, EXPERIMENTS[:1])
    assert list(results.table()["m.x"]) == [3, 2, 1]
    assert list(results._ranked().values()) == [21.0, 20.0]
