"""Follow the tutorials block by block in a copy of the project, at test size.

A page is not changed for its test. The parameters of ``conf/test`` are put into ``conf/local``, and below the
parameters that the page itself writes, so that the same commands run on smaller data.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf

from tests import torture
from tests.pipelines.project import ROOT, copy_of_project

PAGES = {path.stem: path.read_text() for path in sorted(ROOT.glob("docs/tutorials/*.md"))}
PICTURES = ROOT / "docs/images/tutorials"
SMALL = ROOT / "conf/test/parameters.yml"
FENCE = re.compile(r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"`((?:data|mlflow)[\w./]*)`")  # a file or folder that exists afterwards, according to the page
SHOWN = re.compile(r"!\[[^\]]+\]\(\.\./images/tutorials/([\w.]+)\)")
LARGEST = 300_000  # bytes of a picture


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    title: str
    content: str


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page)]


class Reader:
    """A reader who follows a page in their own copy of the project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.names: dict[str, Any] = {"__name__": "tutorial"}  # what Python blocks share
        self.printed = ""
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = environment | {
            "PATH": path,
            "PYTHONPATH": str(project / "src"),
            "DO_NOT_TRACK": "true",
            "OMP_NUM_THREADS": "1",
        }

    def do(self, block: Block) -> None:
        {"bash": self._bash, "python": self._python, "text": self._text, "yaml": self._yaml}[block.language](block)

    def _bash(self, block: Block) -> None:
        line = block.content.replace("\\\n", "").strip()
        if line.startswith("kedro ") and "\n" not in line:  # in a forked process, since a start takes seconds
            ended, _ = torture.kedro(self.project, tuple(shlex.split(line)[1:]))
            assert ended.code == 0, f"{block.content}\n{ended.said}"
            return
        command = ["bash", "-euo", "pipefail", "-c", block.content]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{block.content}\n{done.stdout}{done.stderr}"

    def _python(self, block: Block) -> None:
        told = io.StringIO()
        with contextlib.chdir(self.project), contextlib.redirect_stdout(told):
            exec(compile(block.content, block.content, "exec"), self.names)
        self.printed = told.getvalue()

    def _text(self, block: Block) -> None:
        """Check the output of the Python block before it, which is the same at every size."""
        assert self.printed == block.content

    def _yaml(self, block: Block) -> None:
        """Write a file of parameters; the title of the block is its name."""
        path = self.project / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        merged = OmegaConf.merge(OmegaConf.load(SMALL), OmegaConf.create(block.content))
        OmegaConf.save(merged, path)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    project = copy_of_project(tmp_path)
    shutil.copytree(ROOT / "docs/tutorials", project / "docs/tutorials")
    for kept in ROOT.glob("data/*/.gitkeep"):  # folders that a fresh clone has
        (project / "data" / kept.parent.name).mkdir(parents=True)
    shutil.copy(SMALL, project / "conf/local/parameters.yml")
    return Reader(project)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_page_is_one_that_can_be_done(name: str) -> None:
    page = PAGES[name]
    found = blocks(page)
    assert page.count("```") == 2 * len(found)
    assert {block.language for block in found} <= {"bash", "python", "text", "yaml"}
    for before, block in zip([None, *found], found, strict=False):
        if block.language == "python":
            compile(block.content, name, "exec")
        elif block.language == "yaml":
            assert re.fullmatch(r"conf/\w+/parameters\.yml", block.title)
        elif block.language == "text":
            assert before is not None
            assert before.language == "python"


@pytest.mark.parametrize("name", PAGES)
def test_pictures_of_a_page_are_there_and_small(name: str) -> None:
    shown = SHOWN.findall(PAGES[name])
    assert shown
    for picture in shown:
        assert (PICTURES / picture).stat().st_size < LARGEST, picture


def test_no_picture_is_left_over() -> None:
    shown = [picture for page in PAGES.values() for picture in SHOWN.findall(page)]
    assert sorted(path.name for path in PICTURES.iterdir()) == sorted(shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_says_can_be_done_and_leaves_what_it_names(name: str, reader: Reader) -> None:
    page = PAGES[name]
    for block in blocks(page):
        reader.do(block)
    places = PLACE.findall(page)
    assert places
    for place in places:
        assert (reader.project / place).exists(), place
    drawn = reader.project / "pictures"
    reader.do(Block("bash", "", f"python docs/tutorials/pictures.py {name} --into {drawn}"))
    assert sorted(path.name for path in drawn.iterdir()) == sorted(SHOWN.findall(page))
