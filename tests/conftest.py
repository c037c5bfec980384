"""Fixtures that several test files share."""

import gzip
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import fsspec
import numpy as np
import pytest
import torch
from hypothesis import settings

# No test depends on how busy the machine is; fifty examples of a property keep the suite quick.
settings.register_profile("linear_video", deadline=None, max_examples=50)
settings.load_profile("linear_video")

# Models in tests are tiny: a second thread would only wait, especially on a busy machine.
torch.set_num_threads(1)

WriteIdx = Callable[[Path, np.ndarray], None]


@pytest.fixture
def repository() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture
def write_idx() -> WriteIdx:
    """Write an array as an idx file of unsigned bytes, byte by byte as the format is defined; ``.gz`` is compressed."""

    def write(path: Path, values: np.ndarray) -> None:
        content = bytes([0, 0, 0x08, values.ndim])
        for size in values.shape:
            content += struct.pack(">I", size)
        content += bytes(int(value) for value in values.ravel())
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


@pytest.fixture(scope="session")
def object_store() -> Iterator[dict[str, str]]:
    """An object store that speaks S3, on a free port of localhost: the environment variables that lead to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture
def bucket(object_store: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, which this process and those that it starts can reach."""
    for name, value in object_store.items():
        monkeypatch.setenv(name, value)
    endpoint = object_store["FSSPEC_S3_ENDPOINT_URL"]
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})  # fsspec has read its variables before
    name = f"bucket-{uuid4().hex}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["memory", "s3"])
def root(request: pytest.FixtureRequest, another_machine: Callable[[], Path]) -> Iterator[str]:
    """A URL below which nothing is, in the memory of this process or in an object store."""
    another_machine()
    if request.param == "s3":
        yield f"{request.getfixturevalue('bucket')}/some/prefix"
        return
    yield f"memory://{uuid4().hex}/some/prefix"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """From here on, there are no copies on this machine; gives the folder in which they will be."""

    def change() -> Path:
        folder = tmp_path / f"copies-{uuid4().hex}"
        monkeypatch.setenv("LINEAR_VIDEO_CACHE", str(folder))
        return folder

    return change
