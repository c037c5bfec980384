import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest
import torch
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from linear_video.common.errors import InputError
from linear_video.models.contract import build
from linear_video.parameters import Parameters, check_parameters
from linear_video.pipeline_registry import register_pipelines
from linear_video.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[1] / "conf"
ENVIRONMENTS = sorted({path.parent.name for path in CONF.glob("*/*.yml")} - {"local"})  # local is private


def load(environment: str) -> dict[str, Any]:
    return OmegaConfigLoader(conf_source=str(CONF), env=environment, **CONFIG_LOADER_ARGS)["parameters"]


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return load("base")


def changed(parameters: dict[str, Any], path: str, value: Any, rename: str | None = None) -> dict[str, Any]:
    """A copy with another value at a dotted path, under another name if one is given."""
    result = copy.deepcopy(parameters)
    *above, name = path.split(".")
    place = result
    for part in above:
        place = place[part]
    place.pop(name, None)
    place[rename or name] = value
    return result


def problems_of(parameters: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError, match=r"^Parameters cannot be used:\n") as caught:
        check_parameters(parameters)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


# --- what passes ----------------------------------------------------------------------------------------------------


def test_environments_are_found() -> None:
    assert {"base", "test"} <= set(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_parameters_of_every_environment_pass(environment: str) -> None:
    check_parameters(load(environment))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_models_of_every_environment_can_be_built_and_predict(environment: str) -> None:
    parameters = load(environment)
    side, channels = (parameters["moving_symbols"][name] for name in ("frame_size", "channels"))
    model = build("ile", (channels, side, side), parameters["ile"]["moving_symbols"]["model"]).eval()
    evaluation = parameters["evaluation"]
    context = torch.rand(1, evaluation["context"], channels, side, side)
    predicted = model.predict(context, evaluation["horizon"])
    assert predicted.shape == (1, evaluation["horizon"], channels, side, side)
    assert predicted.isfinite().all()


@pytest.mark.parametrize("environment", [name for name in ENVIRONMENTS if name != "base"])
def test_an_environment_changes_base_and_keeps_what_it_does_not_name(environment: str, base: dict[str, Any]) -> None:
    merged = load(environment)
    assert merged != base
    assert set(merged) == set(base)
    assert set(merged["moving_symbols"]) >= set(base["moving_symbols"])


def test_checked_parameters_have_the_values_of_the_file(base: dict[str, Any]) -> None:
    checked = check_parameters(base)
    assert checked.seed == base["seed"]
    assert checked.moving_symbols.clips == base["moving_symbols"]["clips"]
    assert checked.moving_symbols.speed == tuple(base["moving_symbols"]["speed"])
    assert checked.evaluation.horizon == base["evaluation"]["horizon"]


def test_checking_changes_nothing(base: dict[str, Any]) -> None:
    before = copy.deepcopy(base)
    check_parameters(base)
    assert base == before


# --- names ----------------------------------------------------------------------------------------------------------


def names_of(settings: type, path: str = "") -> list[str]:
    """Dotted names of everything that a tree of settings classes knows."""
    names = []
    for field in fields(settings):
        kind = get_type_hints(settings)[field.name]
        names += [path + field.name, *(names_of(kind, f"{path}{field.name}.") if is_dataclass(kind) else [])]
    return names


@pytest.mark.parametrize("path", names_of(Parameters))
def test_every_misspelt_name_gets_the_right_one(base: dict[str, Any], path: str) -> None:
    above, _, name = path.rpartition(".")
    misspelt = name[:-2] + name[-1] + name[-2] + name[-1]
    prefix = f"{above}." if above else ""
    problems = problems_of(changed(base, path, 1, rename=misspelt))
    assert f"{prefix}{misspelt} is no parameter; did you mean {path}?" in problems


@pytest.mark.parametrize("path", ["wombat", "evaluation.wombat", "moving_symbols.wombat"])
def test_a_name_like_no_other_gets_the_known_ones(base: dict[str, Any], path: str) -> None:
    (problem,) = problems_of(changed(base, path, 1))
    assert problem.startswith(f"{path} is no parameter; known here: ")
    assert {"wombat": "seed", "evaluation.wombat": "horizon", "moving_symbols.wombat": "speed"}[path] in problem


def test_unknown_split_is_named_beside_the_known_ones(base: dict[str, Any]) -> None:
    problems = problems_of(changed(base, "moving_symbols.clips.train", 5, rename="trian"))
    assert any("moving_symbols.clips.trian" in problem and "'train'" in problem for problem in problems)


@pytest.mark.parametrize("path", ["seed", "moving_symbols", "evaluation", "download_mnist.url"])
def test_missing_parameter_is_named(base: dict[str, Any], path: str) -> None:
    without = changed(base, path, None, rename="gone")
    place = without if "." not in path else without[path.partition(".")[0]]
    del place["gone"]
    assert problems_of(without) == [f"{path}: Field required"]


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", "zero"),
        ("seed", None),
        ("seed", 1.0),
        ("seed", True),
        ("evaluation", 5),
        ("evaluation.horizon", "5"),
        ("evaluation.context", [10]),
        ("moving_symbols.frames", 15.0),
        ("moving_symbols.frames", "15"),
        ("moving_symbols.speed", 2),
        ("moving_symbols.speed", [1]),
        ("moving_symbols.speed", [1, 2, 3]),
        ("moving_symbols.clips", 100),
        ("moving_symbols.clips.train", "many"),
        ("moving_symbols.symbols", "letters"),
        ("moving_symbols.collisions", "perhaps"),
        ("download_mnist.checksums", ["md5:0"]),
        ("ucf_sports.frame_size", 32),
        ("ucf_sports.fit", "stretch"),
        ("ucf_sports.include", "Golf-Swing-Side"),
        ("ucla_textures.split_by", "frame"),
        ("small_norb.directions", "forward"),
        ("small_norb.test", [0, 1, 2]),
        ("digit_cycles.cycle", 1234),
        ("ile.moving_symbols.model.memory", "little"),
        ("ile.moving_symbols.training.precision", "16-mixed"),
    ],
)
def test_value_of_a_wrong_type_is_named(base: dict[str, Any], path: str, value: Any) -> None:
    (problem,) = problems_of(changed(base, path, value))
    assert problem.startswith(path)


def test_entry_of_a_wrong_type_is_named_with_its_place(base: dict[str, Any]) -> None:
    (problem,) = problems_of(changed(base, "moving_symbols.symbols_per_clip", [1, 1.5]))
    assert problem.startswith("moving_symbols.symbols_per_clip.1: ")
    assert problem.endswith("not 1.5")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("moving_symbols.speed", [-1.0, 2.0]),
        ("moving_symbols.speed", [2.0, 1.0]),
        ("moving_symbols.speed", [float("nan"), 1.0]),
        ("moving_symbols.channels", 2),
        ("moving_symbols.frame_size", 1000),
        ("moving_symbols.clips", {"train": 0, "validation": 1, "test": 1}),
        ("evaluation.context", 0),
        ("evaluation.horizon", 0),
        ("evaluation.horizon", -3),
        ("evaluation.sequences", 0),
        ("ucf_sports.frames", 1),
        ("ucf_sports.frame_size", [0, 32]),
        ("ucf_sports.crops", 2),
        ("ucf_sports.cut_threshold", 1.5),
        ("ucf_sports.test_share", 0.9),
        ("ucla_textures.window_step", 0),
        ("ucla_textures.channels", 4),
        ("small_norb.degrees_per_frame", 25),
        ("small_norb.cameras", [1, 1]),
        ("small_norb.test", [0, 1]),
        ("digit_cycles.cycle", "1"),
        ("digit_cycles.frames", 801),
        ("digit_cycles.images_per_digit", {"train": 5, "validation": 0, "test": 5}),
        ("ile.moving_symbols.model.state_dimension", 255),
        ("ile.moving_symbols.model.state_dimension", 0),
        ("ile.moving_symbols.model.forecast_weight", -1.0),
        ("ile.moving_symbols.model.forecast_context", 0),
        ("ile.moving_symbols.training.strategy", "ddp"),
        ("ile.moving_symbols.training.steps", 0),
        ("ile.moving_symbols.training.learning_rate", 0.0),
    ],
)
def test_impossible_value_is_named(base: dict[str, Any], path: str, value: Any) -> None:
    (problem,) = problems_of(changed(base, path, value))
    above, _, name = path.rpartition(".")
    assert problem.startswith(f"{above or 'parameters'}: ")
    assert name in problem
    shown = value[0] if isinstance(value, list) else value
    assert str(shown) in problem


def test_all_problems_are_listed_at_once(base: dict[str, Any]) -> None:
    wrong = changed(base, "moving_symbols.speed", [1, 2], rename="sped")
    wrong = changed(wrong, "evaluation.horizn", 5)
    wrong = changed(wrong, "evaluation.context", 0)
    wrong = changed(wrong, "moving_symbols.frames", "many")
    wrong = changed(wrong, "seed", None, rename="sede")
    problems = problems_of(wrong)
    assert len(problems) == 6
    for part in (
        "moving_symbols.sped is no parameter",
        "evaluation.horizn is no parameter",
        "sede is no parameter",
        "context must be at least 1",
        "moving_symbols.frames: ",
        "seed: Field required",
    ):
        assert sum(part in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("moving_symbols.frames", 12, "15 frames, but moving_symbols.frames is 12"),
        ("evaluation.horizon", 6, "16 frames, but moving_symbols.frames is 15"),
        ("ucf_sports.frames", 14, "15 frames, but ucf_sports.frames is 14"),
        ("ile.ucf_sports.model.forecast_context", 15, "leaves no frame to forecast of ucf_sports.frames, 15"),
        ("ile.moving_symbols.model.loss_frames", 10, "loss_frames 10 leave none to forecast"),
    ],
)
def test_settings_that_do_not_go_together_are_named(base: dict[str, Any], path: str, value: int, message: str) -> None:
    [problem] = problems_of(changed(base, path, value))
    assert message in problem


STUDIES = sorted((CONF.parent / "benchmarks/studies").glob("*.yml"))


@pytest.mark.filterwarnings("ignore:One or more dataset names contain")
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_case_of_a_study_can_be_used(path: Path, base: dict[str, Any]) -> None:
    study: Any = OmegaConf.to_container(OmegaConf.load(path))
    assert study["pipeline"] in register_pipelines()
    parameters = load(study["env"]) if "env" in study else base
    for case in study["cases"].values():
        merged = OmegaConf.merge(parameters, study.get("parameters", {}), case or {})
        check_parameters(cast("Any", OmegaConf.to_container(merged)))
