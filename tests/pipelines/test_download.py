import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from linear_video.common.errors import InputError
from linear_video.parameters import DownloadSettings
from linear_video.pipelines.download.nodes import download as download_dataset

FILES = {"images.gz": b"pictures" * 1000, "labels.gz": b"0123456789"}


class Server(ThreadingHTTPServer):
    """Serves a dict of files, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.requests: list[str] = []
        self.missing_bytes = 0  # promised in the header, but not sent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mnist/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/mnist/")
        self.server.requests.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + self.server.missing_bytes))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # between two attempts
    monkeypatch.setattr("pooch.downloaders.tqdm", partial(tqdm, disable=True))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def parameters(server: Server, kind: str = "md5") -> dict[str, Any]:
    sums = {name: f"{kind}:{hashlib.new(kind, content).hexdigest()}" for name, content in FILES.items()}
    return {"url": server.url, "checksums": sums}


def download(settings: dict[str, Any], folder: Path) -> list[str]:
    return download_dataset(DownloadSettings(folder=str(folder), **settings), "download_mnist")


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_all_files_are_fetched_and_named(tmp_path: Path, server: Server, kind: str) -> None:
    assert download(parameters(server, kind), tmp_path / "new" / "mnist") == list(FILES)
    assert everything_in(tmp_path / "new" / "mnist") == FILES


def test_files_that_are_there_are_not_fetched_again(tmp_path: Path, server: Server) -> None:
    (tmp_path / "images.gz").write_bytes(FILES["images.gz"])
    download(parameters(server), tmp_path)
    assert server.requests == ["labels.gz"]


def test_no_server_is_needed_if_all_files_are_there(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    sums = {name: f"md5:{hashlib.md5(content).hexdigest()}" for name, content in FILES.items()}
    assert download({"url": "http://127.0.0.1:9/", "checksums": sums}, tmp_path) == list(FILES)


def test_damaged_file_is_fetched_again(tmp_path: Path, server: Server) -> None:
    (tmp_path / "images.gz").write_bytes(b"damaged")
    download(parameters(server), tmp_path)
    assert everything_in(tmp_path) == FILES


def check_refused(settings: dict[str, Any], folder: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be fetched .*by hand.*download_mnist\.url") as caught:
        download(settings, folder)
    assert settings["url"] + name in str(caught.value)
    assert str(folder) in str(caught.value)


def test_wrong_content_is_refused_and_not_kept(tmp_path: Path, server: Server) -> None:
    server.files["labels.gz"] = b"something else"
    check_refused(parameters(server), tmp_path, "labels.gz")
    assert everything_in(tmp_path) == {"images.gz": FILES["images.gz"]}


def test_missing_file_is_named(tmp_path: Path, server: Server) -> None:
    del server.files["labels.gz"]
    check_refused(parameters(server), tmp_path, "labels.gz")
    assert everything_in(tmp_path) == {"images.gz": FILES["images.gz"]}


def test_broken_transfer_leaves_no_part_of_the_file(tmp_path: Path, server: Server) -> None:
    server.missing_bytes = 10
    check_refused(parameters(server), tmp_path, "images.gz")
    assert everything_in(tmp_path) == {}


def test_dead_server_is_named(tmp_path: Path, server: Server) -> None:
    server.shutdown()
    server.server_close()
    check_refused(parameters(server), tmp_path, "images.gz")
    assert everything_in(tmp_path) == {}


def test_passing_failure_is_overcome(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    content = server.files.pop("images.gz")
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: server.files.update({"images.gz": content}))
    download(parameters(server), tmp_path)
    assert everything_in(tmp_path) == FILES
    assert server.requests == ["images.gz", "images.gz", "labels.gz"]


def test_two_downloads_at_once_fetch_everything_once(tmp_path: Path, server: Server) -> None:
    with ThreadPoolExecutor(2) as pool:
        for names in pool.map(lambda _: download(parameters(server), tmp_path / "mnist"), range(2)):
            assert names == list(FILES)
    assert sorted(server.requests) == sorted(FILES)
    assert everything_in(tmp_path / "mnist") == FILES
