"""What a node has made, and of what: by its stamp, a node whose outputs are still what it would make is not run again.

A stamp is written once all outputs of a node are saved. It tells the code, parameters, raw files and inputs that the
node had, and the outputs as they were left, each by its content. A node that differs in any of that, or whose stamp
cannot be read, or that leaves anything that is not a file of this project, runs.

Where data lie at a URL, so do the stamps: another machine passes over what is up to date, too.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

import linear_video
from linear_video.common import storage
from linear_video.common.files import replacing_file, sha256_of
from linear_video.io.base import PathDataset
from linear_video.io.clips import ResultsDataset
from linear_video.io.figures import FiguresDataset, written_files
from linear_video.pipelines.bound import ALWAYS

FORMAT = 2  # of stamps; another number makes all anew
PARAMETERS = ("params:", "parameters")
# Other versions of these may give other numbers or other pictures.
LIBRARIES = ("torch", "lightning", "numpy", "scipy", "pandas", "scikit-learn", "opencv-python-headless", "matplotlib")

Files = dict[str, str]  # digests by path


class Stamps:
    """The stamps of the nodes that work in one folder of data."""

    def __init__(self, folder: Path, catalog: CatalogProtocol[Any, Any]) -> None:
        self.folder, self.catalog = folder, catalog
        self._digests: dict[tuple[str, str], str] = {}  # by path and state, of files that have been read

    def stale(self, pipeline: Pipeline, named: Collection[str]) -> set[str]:
        """Names of the nodes that have to run: those that are named, those that do not fit, and all that follow."""
        found, dependencies = set(named), pipeline.node_dependencies
        for node in pipeline.nodes:
            if found & {other.name for other in dependencies[node]} or not self._fits(node):
                found.add(node.name)
        return found

    def _fits(self, node: Node) -> bool:
        stamp = self._read(node)
        if stamp is None or ALWAYS in node.tags or set(stamp["outputs"]) != set(node.outputs):
            return False
        intact = all(self._intact(name, files) for name, files in stamp["outputs"].items())
        return intact and _same(stamp["made_of"], self.made_of(node))

    def _intact(self, name: str, files: Files) -> bool:
        """Whether a dataset consists of these files."""
        dataset: Any = self.catalog.get(name)
        if isinstance(dataset, FiguresDataset):  # it consists of those that were drawn
            paths = map(self.folder.joinpath, files)
            there = self._digests_of([path for path in paths if os.path.realpath(path.parent) == place_of(dataset)])
        else:
            there = self._digests_of(files_of(dataset) or [])
        return there == files

    def made_of(self, node: Node) -> dict[str, Any] | None:
        """All that a node's outputs depend on; None if that cannot be told."""
        parameters = {name: self._parameter(name) for name in node.inputs if name.startswith(PARAMETERS)}
        given = getattr(node.func, "keywords", {})  # what a template's stamp gives
        raw = {value: path for value in _texts(parameters) if value and (path := Path(value)).exists()}
        inputs: dict[str, Files] = {}
        for name in node.inputs:
            if name not in parameters:
                paths = files_of(self.catalog.get(name))
                if paths is None:
                    return None
                inputs[name] = self._digests_of(paths)
        return {
            "code": _code(),
            "parameters": _digest_of([parameters, given]),
            "raw": {value: _digest_of(list(_states_below(path))) for value, path in raw.items()},
            "inputs": inputs,
        }

    def write(self, node: Node, made_of: dict[str, Any], saved: dict[str, list[Path]]) -> None:
        """Stamp a node that has run, by what it was made of and the files of each output."""
        outputs = {name: self._digests_of(paths) for name, paths in saved.items()}
        states = {self._key(path): _state(path) or "" for paths in saved.values() for path in paths}
        stamp = {"format": FORMAT, "made_of": made_of, "outputs": outputs, "states": states}
        with replacing_file(self._path(node)) as part:
            part.write_text(json.dumps(stamp, indent=1))
        storage.put_file(self._path(node))

    def outputs(self, node: Node) -> dict[str, list[Path]]:
        """The files of each output of a node that has a stamp."""
        stamp = self._read(node) or {"outputs": {}}
        return {name: [self.folder / path for path in files] for name, files in stamp["outputs"].items()}

    def _path(self, node: Node) -> Path:
        return self.folder / f"{node.name}.json"

    def _read(self, node: Node) -> dict[str, Any] | None:
        """A node's stamp; None if there is none of this format."""
        storage.fetch_file(self._path(node))
        try:
            stamp: dict[str, Any] = json.loads(self._path(node).read_text())
            if stamp["format"] != FORMAT:
                return None
            for files in stamp["outputs"].values():
                self._digests |= {(path, stamp["states"][path]): digest for path, digest in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # whatever else lies there is no stamp
            return None
        return stamp if "made_of" in stamp else None

    def _parameter(self, name: str) -> Any:
        dataset = self.catalog.get(name)
        return None if dataset is None else dataset.load()

    def _key(self, path: Path) -> str:
        """The path from the stamps, so that they hold for a project that has been moved."""
        return os.path.relpath(path, self.folder)

    def _digests_of(self, paths: list[Path]) -> Files:
        return {self._key(path): self.digest(path) for path in paths}

    def digest(self, path: Path) -> str:
        """Digest of a file's content, which is read unless it is known to be as it was; "" if there is none."""
        if (state := _state(path)) is None:
            return ""
        return self._known(path, state, storage.sha256 if storage.url_of(path) else sha256_of)

    def digest_here(self, path: Path) -> str:
        """The same of a file on this machine, which may be a copy of what the store has in another form."""
        return self._known(path, _state_here(path), sha256_of) if path.is_file() else ""

    def _known(self, path: Path, state: str, read: Callable[[Path], str]) -> str:
        key = (self._key(path), state)
        if key not in self._digests:
            self._digests[key] = read(path)
        return self._digests[key]


def _same(then: dict[str, Any], now: dict[str, Any] | None) -> bool:
    """Whether a node would make now what it made then.

    Raw files that are not here are not looked at: they may lie on the machine that read them, and this one has only
    what was made of them. A path that was nothing then, and is now, counts.
    """
    if now is None or not isinstance(then.get("raw"), dict):
        return False
    return {**then, "raw": {}} == {**now, "raw": {}} and now["raw"].items() <= then["raw"].items()


def place_of(dataset: Any) -> str | None:
    """Where a dataset lies on this machine's disk, as an absolute path; None if it does not."""
    path = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
    return None if path is None or getattr(dataset, "_protocol", "file") != "file" else os.path.realpath(path)


def files_of(dataset: Any, data: Any = None) -> list[Path] | None:
    """The files of a dataset, of the data that was saved if that is given; None if it has none on this disk."""
    if isinstance(dataset, FiguresDataset):  # among other files, pictures of before among them
        return written_files(dataset._filepath, data)
    if isinstance(dataset, PathDataset | ResultsDataset):
        return dataset.files()
    place = place_of(dataset)
    return None if place is None else [Path(place)]


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _states_below(root: Path) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of change of a file, or of all files below a folder; links are followed, but not round."""
    if root.is_file():
        yield str(root), root.stat().st_size, root.stat().st_mtime_ns
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for path in sorted(Path(folder, name) for name in names):
            if path.is_file():
                yield str(path), path.stat().st_size, path.stat().st_mtime_ns


def _state(path: Path) -> str | None:
    """What changes with a file: its size, and when its content and its entry were changed last; None if there is none.

    Of a file at a URL, it is what the store says.
    """
    if storage.url_of(path):
        return storage.state(path)
    return _state_here(path) if path.is_file() else None


def _state_here(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


@cache
def _code() -> str:
    """Digest of the package's files, and of the libraries' versions."""
    root = Path(linear_video.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".html"))
    sources = [(path.relative_to(root).as_posix(), sha256_of(path)) for path in files]
    return _digest_of([platform.python_version(), [(name, version(name)) for name in LIBRARIES], sources])


def _digest_of(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
