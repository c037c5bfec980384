"""Files of studies: what they mean, and what is wrong with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.pipeline import Pipeline

from linear_video.common.errors import InputError
from linear_video.parameters import check_parameters, merged
from linear_video.pipeline_registry import register_pipelines
from linear_video.sweeps.command import check_study
from linear_video.sweeps.study import Study, read_study
from tests.pipelines.project import ROOT
from tests.test_parameters import load

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")

SMALLEST: dict[str, Any] = {"pipelines": "ile", "metric": "psnr.0", "direction": "maximize"}
VALIDATION: dict[str, Any] = {"parameters": {"evaluation": {"held_out": "validation"}}}
RATE = "ile.moving_symbols.training.learning_rate"
STUDIES = sorted((ROOT / "benchmarks/studies").glob("*.yml"))


@pytest.fixture(scope="module")
def pipelines() -> Mapping[str, Pipeline]:
    return register_pipelines()


def study_of(**changes: Any) -> Study:
    return Study.model_validate(SMALLEST | changes)


def written(folder: Path, content: Any) -> Path:
    path = folder / "study.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_grid_is_all_cases_and_lists_seed_by_seed() -> None:
    cases: dict[str, Any] = {"a": None, "b": {"x": {"y": 1}}}
    study = study_of(cases=cases, search={"x.z": [3, [4, 5]]}, seeds=[7, 8])
    found = [(settings.case, settings.values["x.z"], settings.seed) for settings in study.grid()]
    of_seed = [("a", 3), ("a", [4, 5]), ("b", 3), ("b", [4, 5])]
    assert found == [(*one, seed) for seed in (7, 8) for one in of_seed]
    assert len({settings.key for settings in study.grid()}) == 8
    assert len({settings.group for settings in study.grid()}) == 4


def test_the_command_line_wins_over_what_is_searched_and_that_over_cases() -> None:
    cases = {"a": {"m": {"p": 2, "q": 2, "r": 2, "s": 2}}}
    shared = {"m": {"p": 1, "q": 1, "r": 1, "s": 1, "t": 1}}
    study = study_of(parameters=shared, cases=cases, search={"m.q": [3], "m.r": [3]}, seeds=[5])
    [settings] = study.grid()
    tree = study.parameters_of(settings, {"m": {"r": 4}})
    assert tree == {"m": {"p": 2, "q": 3, "r": 4, "s": 2, "t": 1}, "seed": 5}


def test_only_cases_columns_seeds_and_trials_may_change() -> None:
    study = study_of(cases={"a": None})
    same = study_of(cases={"a": None, "b": None}, columns=["ssim.0"], seeds=[1])
    assert study.identity({}) == same.identity({})
    assert study.identity({}) != study.identity({"seed": 3})
    assert study.identity({}) != study_of(cases={"a": None}, report=True).identity({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": None}, "metric: Input should be a valid string"),
        ({"pipeline": "ile"}, "pipeline: Extra inputs are not permitted"),
        ({"direction": "up"}, "direction: Input should be 'maximize' or 'minimize', not 'up'"),
        ({"search": {"a": {"low": 2, "high": 1}}, "trials": 3}, "low must be below high"),
        ({"search": {"a": {"low": 0, "high": 1, "log": True}}, "trials": 3}, "above 0 with log"),
        ({"search": {"a": {"low": 0, "high": 1}}}, "sampler tpe needs trials"),
        ({"search": {"a": {"low": 0, "high": 1}}, "sampler": "grid"}, "grid runs lists alone, but a has a range"),
        ({"search": {"a": []}}, "a list is empty"),
        ({"trials": 5}, "trials is for tpe"),
        ({"seeds": [1, 1]}, "seeds: one is there twice"),
        ({"seeds": ["1"]}, "seeds.0: Input should be a valid integer"),
        ({"report": True, "pruner": "median"}, "a report chooses nothing"),
        ({"pruner": "median", "seeds": [0, 1]}, "name one seed at most"),
        ({"sampler": "tpe", "trials": 3, "cases": {"a": None}}, "takes no cases"),
    ],
)
def test_what_is_wrong_with_a_study_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert read_study(written(tmp_path, SMALLEST)).metric == "psnr.0"
    with pytest.raises(InputError, match=message) as refused:
        read_study(written(tmp_path, SMALLEST | change))
    assert "study.yml is not a study that can be run" in str(refused.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "a: ${b}", ""])
def test_what_is_no_mapping_of_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"study\.yml"):
        read_study(written(tmp_path, text))


def test_test_clips_choose_nothing(pipelines: Mapping[str, Pipeline]) -> None:
    base = load("test")
    with pytest.raises(InputError, match=r"psnr\.0 would be of test clips, by which no setting may be chosen"):
        check_study(study_of(), base, pipelines, {})
    with pytest.raises(InputError, match="would be of test clips"):  # whoever says so
        check_study(study_of(**VALIDATION), base, pipelines, {"evaluation": {"held_out": "test"}})
    assert check_study(study_of(report=True), base, pipelines, {}) == ["ile.moving_symbols"]
    assert check_study(study_of(**VALIDATION), base, pipelines, {}) == ["ile.moving_symbols"]
    assert check_study(study_of(metric="val_loss"), base, pipelines, {}) == ["ile.moving_symbols"]


def test_the_experiment_of_the_first_pipeline_is_judged(pipelines: Mapping[str, Pipeline]) -> None:
    study = study_of(pipelines="optical_flow, ile", **VALIDATION)
    assert check_study(study, load("test"), pipelines, {}) == ["optical_flow.moving_symbols", "ile.moving_symbols"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipelines": "ilf"}, "there is no pipeline called 'ilf'"),
        ({"pipelines": "moving_symbols"}, "moving_symbols is not a single experiment"),
        ({"pipelines": "ile,adversarial", "pruner": "median"}, "pruner needs one training by steps"),
        ({"cases": {"far": {"ile": {"symbols": {"model": {"blocks": -1}}}}}}, "The study's settings 'far' cannot run"),
        ({"search": {RATE: {"low": -1.0, "high": 1.0}}, "trials": 2}, "learning_rate must be above zero, not -1.0"),
        ({"search": {"ile.moving_symbols.training.rate": [1]}}, "training.rate is not a parameter"),
    ],
)
def test_what_cannot_run_is_found_before_anything_runs(
    pipelines: Mapping[str, Pipeline], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_study(study_of(**VALIDATION | change), load("test"), pipelines, {})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_can_be_run(path: Path, pipelines: Mapping[str, Pipeline]) -> None:
    study = read_study(path)
    base = load(study.environment or "base")
    assert check_study(study, base, pipelines, {})
    for settings in study.grid():
        check_parameters(merged(base, study.parameters_of(settings, {})))
