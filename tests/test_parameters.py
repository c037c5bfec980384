"""Parameters are read strictly: every mistake is found before a run starts, and reported with its place."""

import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from linear_video.common.errors import InputError
from linear_video.experiments import all_experiments, declared_datasets
from linear_video.models.base import TrainedBySteps
from linear_video.models.registry import MODELS, build, model_class
from linear_video.parameters import check_parameters, plain
from linear_video.settings import CONFIG_LOADER_ARGS
from linear_video.tracking.environments import ProjectConfigLoader
from linear_video.training.fit import TrainingSettings

CONF = Path(__file__).parents[1] / "conf"
OWN = ("local", "my_")  # what the names of a user's own environments start with
ENVIRONMENTS = sorted({path.parent.name for path in CONF.glob("*/*.yml") if not path.parent.name.startswith(OWN)})
# Names of what may be changed, though the files leave most of it to the defaults.
PLACES = {
    "ile.moving_symbols.model": model_class("ile").settings_class,
    "ile.footage.training": TrainingSettings,
    "dynamic_vae.cycles.model": model_class("dynamic_vae").settings_class,
}


def load(environment: str) -> dict[str, Any]:
    arguments: Any = CONFIG_LOADER_ARGS
    loaded: dict[str, Any] = ProjectConfigLoader(conf_source=str(CONF), env=environment, **arguments)["parameters"]
    return loaded


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return load("base")


def changed(parameters: dict[str, Any], path: str, value: Any, rename: str | None = None) -> dict[str, Any]:
    """A copy with another value at a dotted path, under another name if one is given."""
    result = copy.deepcopy(parameters)
    *above, name = path.split(".")
    place = result
    for part in above:
        place = place.setdefault(part, {})
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
    parameters = check_parameters(load(environment))
    symbols: Any = parameters.datasets["moving_symbols"]
    shape = (symbols.channels, symbols.frame_size, symbols.frame_size)
    model = build("ile", shape, parameters.experiments["ile.moving_symbols"].model).eval()
    evaluation = parameters.evaluation["moving_symbols"]
    predicted = model.predict(torch.rand(1, evaluation.context, *shape), evaluation.horizon)
    assert predicted.shape == (1, evaluation.horizon, *shape)
    assert predicted.isfinite().all()


@pytest.mark.parametrize("environment", [name for name in ENVIRONMENTS if name != "base"])
def test_an_environment_changes_base_and_keeps_what_it_does_not_name(environment: str, base: dict[str, Any]) -> None:
    merged = load(environment)
    assert merged != base
    assert set(merged) >= set(base)
    assert set(merged["moving_symbols"]) >= set(base["moving_symbols"])


def test_checked_parameters_have_the_values_of_the_file_over_the_defaults(base: dict[str, Any]) -> None:
    checked = check_parameters(changed(base, "moving_symbols.clips", {"train": 7}))
    symbols: Any = checked.datasets["moving_symbols"]
    assert checked.random.seed == base["seed"]
    assert symbols.clips == {"train": 7, "validation": 100, "test": 100}
    assert symbols.speed == tuple(base["moving_symbols"]["speed"])
    assert symbols.frames == type(symbols)().frames


@pytest.mark.parametrize("dynamics", ["modal", "dense"])
def test_settings_of_an_experiment_are_layers(base: dict[str, Any], dynamics: str) -> None:
    """The model's own training settings, then those of the kind of the dataset, then those of the dataset."""
    model = model_class("ile")
    assert issubclass(model, TrainedBySteps)
    own = model.training_for({"dynamics": dynamics})
    changes = changed(base, "ile.ucf_sports.training", {"steps": 5, "learning_rates": {"prior.theta": 1.0}})
    changes = changed(changes, "ile.ucf_sports.model.dynamics", dynamics)
    found = check_parameters(changes).experiments["ile.ucf_sports"]
    assert found.training is not None
    assert found.training.steps == 5
    assert found.training.learning_rate == base["ile"]["footage"]["training"]["learning_rate"]
    assert found.training.weight_average == own["weight_average"]
    assert found.training.learning_rates == {**own["learning_rates"], "prior.theta": 1.0}
    assert found.model.noise == base["ile"]["footage"]["model"]["noise"]
    assert check_parameters(base).experiments["lds.moving_symbols"].training is None


def test_settings_that_go_together_may_stand_in_different_layers(base: dict[str, Any]) -> None:
    """No forecasts for footage at all, and so fewer frames in the loss for one dataset."""
    changes = changed(base, "ile.footage.model.forecast_weight", 0.0)
    found = check_parameters(changed(changes, "ile.ucf_sports.model.loss_frames", 10)).experiments["ile.ucf_sports"]
    assert (found.model.forecast_weight, found.model.loss_frames) == (0.0, 10)


def test_a_mistake_for_a_whole_kind_is_told_once_where_it_stands(base: dict[str, Any]) -> None:
    own = {"my_videos": {"kind": "footage", "raw_folder": "x"}}
    assert problems_of({**changed(base, "ile.footage.model.couplings", "many"), **own}) == [
        "ile.footage.model.couplings: Input should be a valid integer, not 'many'"
    ]


def test_evaluation_may_be_set_for_a_dataset_alone(base: dict[str, Any]) -> None:
    changes = changed(changed(base, "evaluation.horizon", 4), "evaluation.ucf_sports", {"context": 7})
    found = check_parameters(changes).evaluation
    assert {name: (e.context, e.horizon) for name, e in found.items() if name in ("ucf_sports", "moving_symbols")} == {
        "ucf_sports": (7, 4),
        "moving_symbols": (10, 4),
    }


def test_settings_of_synthesis_are_fine_where_nothing_is_synthesised() -> None:
    found = check_parameters({"synthesis": {"frames": 40}, "moving_symbols": {"kind": "symbols"}})
    assert found.synthesis == {}


def test_synthesis_has_defaults_of_the_judge_below_those_of_the_files(base: dict[str, Any]) -> None:
    found = check_parameters(changed(base, "synthesis", {"sequences": 3, "small_norb": {"frames": 50}})).synthesis
    assert {name: (s.sequences, s.frames, s.noise_scale) for name, s in found.items()} == {
        "digit_cycles": (3, 200, 1.0),
        "ucla_textures": (3, 1000, 1.0),
        "small_norb": (3, 50, 0.0),
    }


def test_what_nodes_are_given_has_the_names_of_the_parameters(base: dict[str, Any]) -> None:
    named = check_parameters(base).by_name()
    datasets = declared_datasets(base)
    expected = {"seed", "predict", "footage", "download_mnist", "download_small_norb", *datasets}
    expected |= {experiment.name for experiment in all_experiments(datasets)}
    expected |= {f"evaluation.{name}" for name in datasets}
    expected |= {f"synthesis.{name}" for name, kind in datasets.items() if kind.judge != "prediction"}
    assert set(named) == expected
    own: Any = model_class("ile")
    assert plain(named["ile.moving_symbols"])["training"]["steps"] == own.training_defaults["steps"]
    dense = check_parameters(changed(base, "ile.moving_symbols.model.dynamics", "dense")).by_name()
    assert plain(dense["ile.moving_symbols"])["training"]["steps"] == 7000
    assert set(plain(named["lds.moving_symbols"])) == {"model"}


def test_a_dataset_of_ones_own_needs_a_kind_and_a_folder(base: dict[str, Any]) -> None:
    own = changed(base, "my_videos", {"kind": "footage", "raw_folder": "somewhere"})
    checked = check_parameters(own)
    assert checked.datasets["my_videos"].frames == 15
    predicting = {name for name in checked.experiments if name.endswith(".my_videos")}
    assert predicting == {f"{model}.my_videos" for model in MODELS}
    steps = {name: check_parameters(own).experiments[f"ile.{name}"].training for name in ("my_videos", "ucf_sports")}
    assert steps["my_videos"] == steps["ucf_sports"]  # as all footage


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        (
            "my_videos",
            {"kind": "footge"},
            "my_videos.kind: there is no kind of dataset 'footge'; did you mean footage?",
        ),
        (
            "my_videos",
            {"kind": "xyz"},
            "choose one of symbols, footage, video, anomalies, textures, events, rotation, cycles.",
        ),
        ("my_videos", {"kind": "footage"}, "my_videos.raw_folder: Field required"),
        ("my_videos", {"raw_folder": "x"}, "A dataset of your own needs a kind: one of symbols, footage"),
        ("ile", {"kind": "footage"}, "a dataset cannot be called 'ile'"),
        ("footage", {"kind": "footage"}, "a dataset cannot be called 'footage'"),
        ("my.videos", {"kind": "footage"}, "a dataset cannot be called 'my.videos'"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused(base: dict[str, Any], name: str, entry: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_parameters({**base, name: entry})
    assert message in str(caught.value)


def test_checking_changes_nothing(base: dict[str, Any]) -> None:
    before = copy.deepcopy(base)
    check_parameters(base)
    assert base == before


# --- names ----------------------------------------------------------------------------------------------------------


def names_of(settings: Any, path: str = "") -> list[str]:
    """Dotted names of all that there is in a tree of settings."""
    kinds = {f.name: None for f in fields(settings)} if is_dataclass(settings) else settings
    return [f"{path}{name}" for name in kinds]


NAMES = [
    *(name for name in names_of(load("base")) if not name.startswith("download_")),  # of which there may be more
    *(f"{name}.{field}" for name, kind in declared_datasets(load("base")).items() for field in names_of(kind)),
    *(f"{path}.{field}" for path, kind in PLACES.items() for field in names_of(kind)),
    *(
        "evaluation.horizon",
        "evaluation.moving_symbols.context",
        "synthesis.frames",
        "predict.task",
        "download_mnist.url",
    ),
    *("ile.moving_symbols", "ile.footage", "ile.footage.model", "ile.footage.training", "adversarial.ucf_sports"),
]


@pytest.mark.parametrize("path", sorted(NAMES))  # files are read in any order
def test_every_misspelt_name_gets_the_right_one(base: dict[str, Any], path: str) -> None:
    above, _, name = path.rpartition(".")
    misspelt = f"{above}.{name}{name[-1]}".lstrip(".")
    assert f"{misspelt} is not a parameter; did you mean {path}?" in problems_of(changed(base, misspelt, 1))


@pytest.mark.parametrize("path", ["wombat", "evaluation.wombat", "moving_symbols.wombat"])
def test_a_name_like_no_other_gets_the_known_ones(base: dict[str, Any], path: str) -> None:
    (problem,) = problems_of(changed(base, path, 1))
    assert problem.startswith(f"{path} is not a parameter; known here: ")
    assert {"wombat": "seed", "evaluation.wombat": "horizon", "moving_symbols.wombat": "speed"}[path] in problem


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("sequences", 20, "set synthesis.digit_cycles.sequences instead."),
        ("horizon", 3, "only held_out counts there."),
    ],
)
def test_evaluation_without_effect_is_refused(base: dict[str, Any], name: str, value: int, hint: str) -> None:
    expected = f"evaluation.digit_cycles.{name} has no effect, since models synthesise on digit_cycles; {hint}"
    assert problems_of(changed(base, f"evaluation.digit_cycles.{name}", value)) == [expected]


def test_unknown_split_is_named_beside_the_known_ones(base: dict[str, Any]) -> None:
    problems = problems_of(changed(base, "moving_symbols.clips.train", 5, rename="trian"))
    assert any("moving_symbols.clips.trian" in problem and "'train'" in problem for problem in problems)


@pytest.mark.parametrize("path", ["ucf_sports.raw_folder", "download_mnist.url"])
def test_missing_parameter_is_named(base: dict[str, Any], path: str) -> None:
    without = changed(base, path, None, rename="gone")
    del without[path.partition(".")[0]]["gone"]
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
    wrong = changed(wrong, "ile.moving_symbols.model.noise", -1.0)
    problems = problems_of(wrong)
    assert len(problems) == 6
    for part in (
        "moving_symbols.sped is not a parameter",
        "evaluation.horizn is not a parameter",
        "sede is not a parameter",
        "noise must",
        "context must be at least 1",
        "moving_symbols.frames: ",
    ):
        assert sum(part in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("moving_symbols.frames", 12, "15 frames, but moving_symbols.frames is 12"),
        ("evaluation.ucf_sports", {"horizon": 6}, "16 frames, but ucf_sports.frames is 15"),
        ("adversarial.ucf_sports.model.input_frames", 15, "leave none to predict after input_frames 15"),
        ("evaluation.horizon", 6, "16 frames, but moving_symbols.frames is 15"),
        ("ucf_sports.frames", 14, "15 frames, but ucf_sports.frames is 14"),
        (
            "ile.ucf_sports.model",
            {"dynamics": "dense", "forecast_context": 15},
            "which leaves no frame to forecast in clips of 15 frames",
        ),
        ("ile.ucf_sports.model.reach", 15, "which leaves no frame to look from in clips of 15 frames"),
        ("ile.moving_symbols.model.loss_frames", 5, "loss_frames 5 leaves no frame to look from"),
    ],
)
def test_settings_that_do_not_go_together_are_named(base: dict[str, Any], path: str, value: Any, message: str) -> None:
    assert sum(message in problem for problem in problems_of(changed(base, path, value))) == 1


@pytest.mark.parametrize("path", ["ile.symbols.model", "ile.symbols.model.dynamics", "moving_symbols.kind"])
@pytest.mark.parametrize("value", [["a"], [[]], "a", 5, True, "x" * 10_000], ids=lambda value: repr(value)[:9])
def test_values_of_any_type_are_told_in_short_lines(base: dict[str, Any], path: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        check_parameters(changed(base, path, value))
    assert max(map(len, str(refused.value).splitlines())) < 1000


@pytest.mark.parametrize("path", ["ile.symbols.training.steps", "ile.symbols.model", "seed"])
def test_names_with_line_breaks_are_told_in_one_line(base: dict[str, Any], path: str) -> None:
    with pytest.raises(InputError, match=r"a\\nb' is not a parameter") as refused:
        check_parameters(changed(base, path, 1, rename="a\nb"))
    assert all(line.startswith("  - ") for line in str(refused.value).splitlines()[1:])
