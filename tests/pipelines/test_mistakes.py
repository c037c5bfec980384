"""Mistakes on the command line or in a file end with one message, which says what to do."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from kedro.pipeline import Pipeline

from linear_video import pipeline_registry
from linear_video.common.errors import InputError
from linear_video.settings import CONFIG_LOADER_ARGS
from linear_video.tracking import names
from linear_video.tracking.environments import ProjectConfigLoader
from tests.pipelines.project import ROOT, begin, copy_of_project, fails, kedro
from tests.test_parameters import load

# Commands one after the other in one process, each with its error as Python would show it, since a start takes seconds.
PROGRAM = """
import json, sys
from kedro.framework.cli.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["kedro", *command]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    print(f"<exit {code}>", file=sys.stderr, flush=True)
"""
NODE = "ile.moving_symbols.train"
# Commands, and texts that their message must contain.
COMMANDS: list[tuple[list[str], list[str]]] = [
    (["run", "--env=tset"], ["no environment 'tset'", "did you mean test?"]),
    (["run", "--env=.."], ["no environment '..'", "known here: base, "]),
    (["run", "--env=test", "--pipelines=ille"], ["--pipelines", "'ille'", "did you mean ile?"]),
    (["run", "--env=test", "--pipelines=lds.moving_symbol"], ["--pipelines", "did you mean lds.moving_symbols?"]),
    (["run", "--env=test", "--nodes=ile.moving_symbols.trian"], ["--nodes", f"did you mean {NODE}?"]),
    (["run", "--env=test", "--from-nodes=ile.moving_symbols.trian"], ["--from-nodes", f"did you mean {NODE}?"]),
    (["run", "--env=test", "--to-nodes=ile.moving_symbols.trian"], ["--to-nodes", f"did you mean {NODE}?"]),
    (["run", "--env=test", "--tags=slow"], ["--tags", "'slow'", "known here: "]),
    (["run", "--env=test", "--namespaces=il"], ["--namespaces", "did you mean ile?"]),
    (["run", "--env=test", "--from-inputs=moving_symbols.train_clip"], ["did you mean moving_symbols.train_clips?"]),
    (["run", "--env=test", "--to-outputs=ile.moving_symbols.score"], ["did you mean ile.moving_symbols.scores?"]),
    (["run", "--env=test", "--runner=SequentialRuner"], ["--runner", "did you mean SequentialRunner?"]),
    (["run", "--env=test", "--params=seed=[1"], ["--params", "expected ',' or ']'"]),
    (["run", "--env=test", "--params=seed=.nan"], ["seed must be a finite number"]),
    (["run", "--env=test", "--params=sede=1"], ["sede is not a parameter; did you mean seed?"]),
]


def in_turn(project: Path, commands: list[list[str]], **environment: str) -> list[str]:
    """The error output of each command, without line breaks; no command may succeed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "true", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    parts = [part for part in done.stderr.split("<exit ") if part.strip()]
    told = [parts[0], *(part.partition(">")[2] for part in parts[1:])][: len(commands)]
    codes = [part.partition(">")[0] for part in done.stderr.split("<exit ")[1:]]
    assert len(codes) == len(commands)
    assert "0" not in codes
    for text in told:
        assert text.count("Error: ") == 1, text
    return [" ".join(text.split()) for text in told]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which nothing has run."""
    return copy_of_project(tmp_path_factory.mktemp("untouched"))


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"pipelines": ["ille"]}, "--pipelines: there is no pipeline called 'ille'; did you mean ile?"),
    ({"pipeline": "ille"}, "--pipelines: there is no pipeline called 'ille'; did you mean ile?"),
    (
        {"node_names": ["x"]},
        "--nodes: there is no node of the default pipeline called 'x'; known here: ile.moving_symb",
    ),
    ({"pipelines": ["lds.moving_symbols"], "node_names": [NODE]}, "; did you mean lds.moving_symbols.train?"),
    (
        {"from_nodes": [f"{NODE}x"]},
        f"--from-nodes: there is no node of the default pipeline called '{NODE}x'; did you m",
    ),
    ({"to_nodes": [NODE, f"{NODE}x"]}, f"--to-nodes: there is no node of the default pipeline called '{NODE}x'; did"),
    ({"tags": ["x"]}, "--tags: there is no tag of the default pipeline called 'x'; known here: "),
    (
        {"from_inputs": ["params:sed"]},
        "--from-inputs: there is no dataset of the default pipeline called 'params:sed'; d",
    ),
    ({"to_outputs": ["x"]}, "--to-outputs: there is no dataset of the default pipeline called 'x'; known here: ile."),
    (
        {"namespaces": ["il"]},
        "--namespaces: there is no namespace of the default pipeline called 'il'; did you mean ile",
    ),
]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pipeline]:
    arguments: Any = CONFIG_LOADER_ARGS
    loader = ProjectConfigLoader(conf_source=str(ROOT / "conf"), env="base", **arguments)
    monkeypatch.setattr(pipeline_registry, "_parameters", loader["parameters"])
    found = pipeline_registry.register_pipelines()
    monkeypatch.setattr(names, "pipelines", found)
    return found


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_a_name_that_nothing_has_is_told_with_its_option(
    known: dict[str, Pipeline], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        names.check_names(options)


@pytest.mark.filterwarnings("ignore:One or more dataset names contain")
@pytest.mark.parametrize("asked", [[], ["ile"], ["moving_symbols"], ["compare.ucf_sports"]])
def test_what_cannot_be_read_in_shards_is_told(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    pipeline_registry.use_parameters({**load("base"), "shard": "1/2"})
    found = pipeline_registry.register_pipelines()
    pipeline_registry.use_parameters(load("base"))
    monkeypatch.setattr(names, "pipelines", found)
    with pytest.raises(InputError, match=r"no pipeline that can be read in shards \(parameter shard\) called"):
        names.check_names({"pipelines": asked}, sharded=True)
    for name in ("ucf_sports", "ile.ucf_sports", "ucla_textures"):
        names.check_names({"pipelines": [name]}, sharded=True)
        [node] = found[name].nodes
        assert (node.name, node.outputs) == (f"{name.rpartition('.')[2]}.read", [])


def test_names_that_there_are_pass(known: dict[str, Pipeline]) -> None:
    names.check_names({})
    for name, pipeline in known.items():
        nodes = [node.name for node in pipeline.nodes]
        spaces = [node.namespace for node in pipeline.nodes if node.namespace]
        names.check_names({"pipeline": None, "pipelines": [name], "node_names": nodes, "namespaces": spaces})
        names.check_names({"pipeline": name, "from_inputs": pipeline.inputs(), "to_outputs": pipeline.outputs()})
    names.check_names({"namespaces": ["ile"]})


@pytest.mark.slow
def test_names_that_nothing_has_get_the_right_ones(untouched: Path) -> None:
    told = in_turn(untouched, [command for command, _ in COMMANDS])
    for (command, parts), text in zip(COMMANDS, told, strict=True):
        for part in parts:
            assert part in text, (command, text)
    assert not (untouched / "data").exists()


@pytest.mark.slow
def test_commands_that_only_look_tell_of_mistakes_in_one_message_too(untouched: Path) -> None:
    commands = [["registry", "list"], ["registry", "describe", "ile"], ["catalog", "describe-datasets"]]
    for text in in_turn(untouched, commands, KEDRO_ENV="tset"):
        assert "there is no environment 'tset'" in text


BROKEN = {
    "parameters.yml": ("seed: 1\nseed: 2\n", "line 2: ", "duplicate key seed"),
    "parameters_more.yml": ("evaluation:\n  horizon: [1\n", "line 3: ", "expected ',' or ']'"),
    "catalog.yml": ("a: 1\n\tb: 2\n", "line 2: ", r"found character '\t'"),
    "parameters_list.yml": ("- 1\n", "", "must hold names and values"),
    "parameters_number.yml": ("1\n", "", "cannot be read as YAML"),
    "parameters_bytes.yml": ("a: \udcff\n", "", "is not UTF-8 text"),
    "parameters_deep.yml": ("a: " + "[" * 5000, "", ""),
    "mlflow.yml": ("tracking:\n  tracking: 1\n", "", "tracking.tracking: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_the_line(tmp_path: Path, name: str) -> None:
    content, line, problem = BROKEN[name]
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    broken = conf / "broken" / name
    broken.parent.mkdir()
    broken.write_text(content, errors="surrogateescape")
    arguments: Any = CONFIG_LOADER_ARGS
    kind = name.partition(".")[0].partition("_")[0]
    with pytest.raises(InputError) as caught:
        ProjectConfigLoader(conf_source=str(conf), env="broken", **arguments)[kind]
    assert (name if name == "mlflow.yml" else str(broken)) in str(caught.value)
    assert line in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1: 2", "names of parameters are text, but 1 is not"),
        ("a: ${b}", "the parameters of base and odd cannot be put together: Interpolation key 'b' not found"),
        ("a: ${a}", "Recursive interpolation detected"),
        ("predict: [1]", "Cannot merge DictConfig with ListConfig"),
    ],
)
def test_parameters_that_do_not_fit_together_are_told(tmp_path: Path, content: str, problem: str) -> None:
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (conf / "odd").mkdir()
    (conf / "odd/parameters.yml").write_text(content)
    arguments: Any = CONFIG_LOADER_ARGS
    with pytest.raises(InputError, match=re.escape(problem)):
        ProjectConfigLoader(conf_source=str(conf), env="odd", **arguments)["parameters"]


@pytest.mark.parametrize("environment", ["tset", "..", ".", "test/../base", "/tmp", "parameters.yml", "a\0b"])
def test_an_environment_is_a_folder_of_conf(environment: str) -> None:
    arguments: Any = CONFIG_LOADER_ARGS
    with pytest.raises(InputError, match="there is no environment"):
        ProjectConfigLoader(conf_source=str(ROOT / "conf"), env=environment, **arguments)


@pytest.mark.slow
def test_a_broken_file_is_told_by_the_command(untouched: Path) -> None:
    (untouched / "conf/broken").mkdir()
    (untouched / "conf/broken/parameters.yml").write_text("seed: 1\nseed: 2\n")
    (told,) = in_turn(untouched, [["run", "--env=broken"]])
    assert f"{untouched / 'conf/broken/parameters.yml'}, line 2: " in told


def test_a_notebook_shows_the_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell()
    shell.run_cell("from linear_video.common.errors import InputError")
    shell.run_cell("raise InputError('the file cannot be read; mend it.')")
    assert capsys.readouterr().out.strip() == "Error: the file cannot be read; mend it."
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_itself_shows_the_message_alone(untouched: Path) -> None:
    assert "did you mean test?" in fails(untouched, "run", "--env=tset")
    assert "ile must name some of" in fails(untouched, "run", "--env=test", "--params=ile=3")


@pytest.mark.slow
def test_a_place_that_mlflow_does_not_know_is_told(untouched: Path) -> None:
    (told,) = in_turn(untouched, [["run", "--env=test"]], MLFLOW_TRACKING_URI="nowhere://here")
    assert "MLflow cannot be used (" in told
    assert "unsupported URI 'nowhere://here'" in told
    assert "MLFLOW_TRACKING_URI" in told


@pytest.mark.slow
def test_a_mistake_of_the_project_itself_shows_where_it_is(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    nodes = project / "src/linear_video/pipelines/ingestion/nodes.py"
    nodes.write_text(nodes.read_text().replace("made = settings.make", "1 / 0\n    made = settings.make"))
    done = kedro(project, "run", "--env=test", "--pipelines=moving_symbols")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.slow
def test_an_interrupted_run_says_so_in_a_line(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    with begin(project, "run", "--env=test", "--params=ile.moving_symbols.training.steps=100000") as run:
        give_up = time.monotonic() + 120
        while not list(project.glob("data/test/06_models/ile/**/*.ckpt")):
            assert run.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        told, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert told.splitlines()[-1] == "Interrupted. Run the same command again to continue."
    assert "Traceback" not in told
