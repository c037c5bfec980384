"""The documentation is right about models, datasets, commands and parameters."""

import re
from typing import Any

import pytest
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf

from linear_video.clips.registry import KINDS
from linear_video.common.limits import DEFAULTS
from linear_video.experiments import declared_datasets, default_experiment
from linear_video.models.base import (
    DrawsFutures,
    FittedInClosedForm,
    HasExactLikelihood,
    HasLikelihood,
    HasSpectrum,
    KnowsActions,
    KnowsAnyTime,
    Synthesises,
    TrainedBySteps,
)
from linear_video.models.registry import MODELS, model_class
from linear_video.parameters import check_parameters, merged
from linear_video.pipeline_registry import register_pipelines
from linear_video.pipelines.bound import ALWAYS, FIRST
from linear_video.sweeps.command import check_study
from linear_video.sweeps.study import Study
from linear_video.tasks.settings import BLENDED
from linear_video.tasks.trained import NEEDS
from tests.pipelines.project import ROOT
from tests.test_parameters import load

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
}
OWN = ("my_video", "my_videos", "momentum", "drifting_gratings")  # names that the pages define themselves
CAPABILITIES: dict[str, type] = {
    "synthesises": Synthesises,
    "draws futures": DrawsFutures,
    "has a spectrum": HasSpectrum,
    "knows any time": KnowsAnyTime,
    "knows actions": KnowsActions,
}


def row_of(name: str) -> str:
    """What the table of models must say of one."""
    found = model_class(name)
    learns = "by steps" if issubclass(found, TrainedBySteps) else "-"
    learns = "in closed form" if issubclass(found, FittedInClosedForm) else learns
    exact = issubclass(found, HasExactLikelihood)
    likelihood = "exact" if exact else "bound" if issubclass(found, HasLikelihood) else "-"
    has = ["yes" if issubclass(found, capability) else "-" for capability in CAPABILITIES.values()]
    cells = [f"`{name}`", f"`{default_experiment(name).dataset}`", learns, likelihood, *has]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_models_follows_from_the_classes(name: str) -> None:
    header = f"| model | alone, on | learns | likelihood | {' | '.join(CAPABILITIES)} |"
    assert header in PAGES["docs/concepts/models.md"], header
    assert row_of(name) in PAGES["docs/concepts/models.md"], row_of(name)


def test_the_table_of_kinds_names_every_one_with_its_settings() -> None:
    datasets = {kind: name for name, kind in ((n, load("base")[n]["kind"]) for n in declared_datasets(load("base")))}
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (prediction|synthesis: (\w+)) \| `(\w+)` in `clips/(\w+)\.py` \|$",
                      PAGES["docs/how_to/datasets.md"], re.MULTILINE)  # fmt: skip
    assert {kind: f"linear_video.clips.{file}:{name}" for kind, _, _, _, name, file in rows} == KINDS
    assert {kind: dataset for kind, dataset, *_ in rows} == datasets
    judges = {name: kind.judge for name, kind in declared_datasets(load("base")).items()}
    assert {dataset: judge or "prediction" for _, dataset, _, judge, *_ in rows} == judges


@pytest.mark.parametrize("task", NEEDS)
def test_the_table_of_tasks_names_the_models_that_can(task: str) -> None:
    [row] = re.findall(rf"^\| `{task}` \|.*\| ([^|]*) \|$", PAGES["docs/how_to/own_footage.md"], re.MULTILINE)
    able = [name for name in MODELS if issubclass(model_class(name), NEEDS[task])]
    if task in BLENDED and able != list(MODELS):  # in a blend, all are; the model alone, some
        row = row.removeprefix("all; alone ")
    assert row.startswith("all" if able == list(MODELS) else ", ".join(f"`{name}`" for name in able)), able


@pytest.mark.filterwarnings("ignore:One or more dataset names contain")
@pytest.mark.parametrize("page", PAGES)
def test_every_pipeline_that_is_named_exists(page: str) -> None:
    pipelines = register_pipelines()
    named = [
        name for names in re.findall(r"--pipelines=([\w.,]+)", PAGES[page]) for name in names.strip(".,").split(",")
    ]
    for name in named:
        assert name in pipelines or set(name.split(".")) & set(OWN), name
    assert "--pipeline=" not in PAGES[page]


@pytest.mark.filterwarnings("ignore:One or more dataset names contain")
def test_the_table_of_tags_names_the_nodes_of_each() -> None:
    tagged: dict[str, set[str]] = {}
    for node in sum(register_pipelines().values(), Pipeline([])).nodes:
        step = "the downloads" if node.name.startswith("download_") else node.name.rpartition(".")[2]
        for tag in node.tags - {ALWAYS, FIRST}:
            tagged.setdefault(tag, set()).add(step)
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGES["docs/how_to/kedro.md"], re.MULTILINE)
    assert {tag: set(re.findall(r"\w+\b(?=`)|the downloads", steps)) for tag, steps in rows} == tagged


def test_the_table_of_limits_has_every_one_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGES["docs/how_to/limits.md"], re.MULTILINE)
    assert {name: int(default) for name, default in rows} == DEFAULTS


@pytest.mark.parametrize("page", PAGES)
def test_every_set_of_parameters_that_is_shown_can_be_used(page: str) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", PAGES[page], re.DOTALL):
        shown: Any = OmegaConf.to_container(OmegaConf.create(block))
        if "gratings" in block:
            continue  # a kind that only the page makes, tested with it
        if "pipelines" in shown:
            environment = load(shown.get("environment", "base"))
            assert check_study(Study.model_validate(shown), environment, register_pipelines(), {})
            continue
        missing = {name: {"kind": "footage", "raw_folder": "x"} for name in shown if name in OWN}
        check_parameters(merged(load("base"), missing, shown))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_that_is_linked_exists(page: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", PAGES[page]):
        if "://" not in link:
            assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_message_of_the_troubleshooting_is_one_of_the_program() -> None:
    program = "\n".join(path.read_text() for path in sorted(ROOT.glob("src/**/*.py")))
    program = re.sub(r"\"\s*\n\s*f?\"", "", program)  # a text on several lines
    messages = re.findall(r"^### `(.+)`$", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    assert len(messages) > 20
    for message in messages:
        for part in filter(None, (part.strip(" ;,:.()") for part in message.split("…"))):
            assert part in program, message


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_a_file_that_the_site_shows_links_to_pages_alone(name: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text()):
        assert "://" in link or (link.startswith("docs/") and (ROOT / link).exists()), link


STUMBLES = r"\b(other than|lest|one's own|so manieth|next to nothing|ought to|whose)\b"


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_in_plain_english(page: str) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", PAGES[page], flags=re.DOTALL)
    assert not re.findall(STUMBLES, prose, re.IGNORECASE)
