"""The graph as Kedro's commands show and filter it: tags on nodes, layers on datasets; and the log of a run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from linear_video.pipeline_registry import register_pipelines, use_parameters
from linear_video.pipelines.bound import ALWAYS, FIRST
from linear_video.settings import CONFIG_LOADER_ARGS
from linear_video.tracking.environments import ProjectConfigLoader
from tests.pipelines.project import DATA, ROOT, kedro
from tests.test_parameters import load

STEPS = {
    "ingest": ("make", "summarise", "download_mnist", "download_small_norb"),
    "train": ("train",),
    "predict": ("predict", "synthesise", "watch"),
    "evaluate": ("evaluate",),
    "draw": ("draw",),
    "compare": ("compare", "report"),
    "footage": ("run_task", "run_tasks", "write_report"),
}
LAYERS = {"raw", "intermediate", "primary", "models", "model output", "reporting"}


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    use_parameters(load("base"))
    return register_pipelines()


@pytest.mark.filterwarnings("ignore:One or more dataset names contain")
def test_every_node_has_the_tag_of_its_step(pipelines: dict[str, Pipeline]) -> None:
    nodes = [node for pipeline in pipelines.values() for node in pipeline.nodes]
    # Without the tags for how nodes run.
    tags = {(node.name.rpartition(".")[2], frozenset(node.tags - {ALWAYS, FIRST})) for node in nodes}
    assert tags == {(name, frozenset({tag})) for tag, names in STEPS.items() for name in names}


def test_every_dataset_has_a_layer(pipelines: dict[str, Pipeline]) -> None:
    text = (ROOT / "conf/base/catalog.yml").read_text().replace("${data:}", "data")
    resolver = DataCatalog.from_config(yaml.safe_load(text)).config_resolver
    names = {name for pipeline in pipelines.values() for name in pipeline.datasets() if not name.startswith("params:")}
    found = {name: resolver.resolve_pattern(name).get("metadata", {}) for name in names}
    assert not {name for name, metadata in found.items() if metadata.get("kedro-viz", {}).get("layer") not in LAYERS}


def test_each_of_several_loaders_knows_the_folder_of_its_own_environment() -> None:
    arguments: Any = CONFIG_LOADER_ARGS
    loaders = {env: ProjectConfigLoader(str(ROOT / "conf"), env, **arguments) for env in ("local", "test", "paper")}
    folders = {env: loader["catalog"]["predict.results"]["filepath"] for env, loader in reversed(loaders.items())}
    assert folders == {
        "local": "data/08_reporting/predict/results.csv",
        "test": "data/test/08_reporting/predict/results.csv",
        "paper": "data/paper/08_reporting/predict/results.csv",
    }


def test_a_tag_runs_its_step_alone_and_each_message_is_one_line(project: Path) -> None:
    scores = project / DATA / "08_reporting/ile/moving_symbols/scores.json"
    before = scores.read_text()
    scores.unlink()
    done = kedro(project, "run", "--env=test", "--pipelines=ile", "--tags=evaluate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores.read_text() == before
    lines = done.stdout.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO \S", line) for line in lines), done.stdout
    assert len([line for line in lines if "Running node: " in line]) == 1
    assert [line for line in lines if re.search("Running node: evaluate: .*params:.*moving_symbols.scores", line)]
    assert done.stderr == ""
