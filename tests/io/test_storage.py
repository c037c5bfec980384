"""What lies at a URL: another machine that shares nothing but the store has the same, whole, or is told why not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from fsspec.registry import _registry
from kedro.io import DatasetError
from matplotlib.figure import Figure

import linear_video
from linear_video.clips.base import ClipSet
from linear_video.common import storage
from linear_video.common.errors import InputError
from linear_video.io.clips import ArrayDataset, ClipSetDataset, FactsDataset, ResultsDataset
from linear_video.io.figures import FigureDataset, FiguresDataset
from linear_video.io.files import CSVDataset, JSONDataset, TextDataset
from linear_video.io.folders import StateFolderDataset
from linear_video.io.models import Checkpoint, CheckpointDataset
from linear_video.models.registry import build, describe
from tests.io.test_io import check_equal, everything_in, make_clips

Move = Callable[[], Path]


def content(url: str) -> bytes:
    """Read from the store by other means than ours."""
    with fsspec.open(url, "rb") as file:
        return bytes(file.read())


def names_below(url: str) -> list[str]:
    store, key = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return sorted(name.removeprefix(key).lstrip("/") for name in store.find(key))


def overwrite(url: str, data: bytes) -> None:
    store, key = fsspec.core.url_to_fs(url)
    store.pipe_file(key, data)


def write_folder(path: Path, **files: bytes) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)


# --- URLs and places ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3://bucket/a/b.csv", "memory://a/b c/é.npy", "gs://b/.stamps/x.json"])
def test_a_place_tells_its_url_on_any_machine(url: str, another_machine: Move) -> None:
    one = another_machine()
    place = storage.place(url)
    assert place.is_relative_to(one)
    assert storage.url_of(place) == storage.name_of(place) == url
    assert storage.url_of(place / "deeper" / ".." / "other") == f"{url}/other"
    assert storage.with_urls(f"{place} is missing, and {place}/x, too.") == f"{url} is missing, and {url}/x, too."
    other = another_machine()
    assert storage.url_of(place) == url
    assert storage.here(place) == storage.place(url)
    assert storage.here(place).is_relative_to(other)


def test_paths_are_what_they_are(tmp_path: Path) -> None:
    for path in (tmp_path, Path("data/x"), Path("/")):
        assert storage.place(str(path)) == storage.here(path) == path
        assert storage.url_of(path) is None
    assert storage.place(f"file://{tmp_path}") == tmp_path
    (tmp_path / "file").write_text("stays")
    for function in (storage.fetch_file, storage.put_file):
        function(tmp_path / "file")
    for function in (storage.fetch_folder, storage.put_folder, storage.fetch_files, storage.put_files):
        function(tmp_path)
    storage.remove_all_but(tmp_path, ())
    assert everything_in(tmp_path) == {"file": b"stays"}


@pytest.mark.parametrize("url", ["s3://", "s3://bucket/../secret", "simplecache::s3://bucket/x"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="is not a URL of a store"):
        storage.place(url)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_when_it_has_changed_and_only_then(root: str, another_machine: Move) -> None:
    url = f"{root}/a/file"
    place = storage.place(url)
    write_folder(place.parent, file=b"first")
    storage.put_file(place)
    assert content(url) == b"first"

    another_machine()
    place = storage.place(url)
    storage.fetch_file(place)
    assert place.read_bytes() == b"first"
    before = place.stat()
    storage.fetch_file(place)
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    overwrite(url, b"other")  # as long as the first
    storage.fetch_file(place)
    assert place.read_bytes() == b"other"
    place.write_bytes(b"by hand")
    storage.fetch_file(place)
    assert place.read_bytes() == b"other"
    storage.remove(place)
    assert names_below(root) == []
    storage.fetch_file(place)
    assert not place.exists()


def test_the_digest_of_a_file_is_known_or_read_anew(root: str, another_machine: Move) -> None:
    place = storage.place(f"{root}/file")
    assert storage.state(place) is None
    overwrite(f"{root}/file", b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert storage.sha256(place) == storage.sha256(place) == abc
    assert not place.exists()  # it was not fetched
    overwrite(f"{root}/file", b"")
    assert storage.sha256(place) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_files_go_one_by_one_with_the_first_first(
    root: str, another_machine: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = storage.place(f"{root}/state")
    write_folder(place, a=b"1", digests=b"2", z=b"3")
    put = []
    real = storage.put_file

    def noted(path: Path) -> None:
        put.append(path.name)
        real(path)

    monkeypatch.setattr(storage, "put_file", noted)
    storage.put_files(place, ("digests",))
    assert put == ["digests", "a", "z"]
    (place / "a").unlink()
    storage.put_files(place)
    assert names_below(f"{root}/state") == ["digests", "z"]

    another_machine()
    place = storage.place(f"{root}/state")
    write_folder(place, left=b"over")
    storage.fetch_files(place)
    assert everything_in(place) == {"digests": b"2", "z": b"3"}


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_files(root: str) -> str:
    """The URL of a folder of two files, put twice: the second time without a file of the first."""
    place = storage.place(f"{root}/folder")
    write_folder(place, one=b"old", two=b"old", three=b"gone")
    storage.put_folder(place)
    (place / "three").unlink()
    write_folder(place, one=b"1", two=b"2")
    (place / "sub").mkdir()
    (place / "sub" / "deep").write_bytes(b"3")
    storage.put_folder(place)
    return f"{root}/folder"


def test_a_folder_is_fetched_as_it_was_put(two_files: str, another_machine: Move) -> None:
    assert names_below(two_files) == [".files.json", "one", "sub/deep", "two"]
    another_machine()
    place = storage.place(two_files)
    storage.fetch_folder(place)
    assert everything_in(place) == {"one": b"1", "two": b"2", "sub/deep": b"3"}
    assert storage.names_in(place) == ["one", "sub/deep", "two"]
    before = place.stat().st_ino
    overwrite(f"{two_files}/beside", b"what the list does not name")
    storage.fetch_folder(place)
    assert place.stat().st_ino == before
    (place / "one").unlink()
    storage.fetch_folder(place)
    assert everything_in(place) == {"one": b"1", "two": b"2", "sub/deep": b"3"}


@pytest.mark.parametrize("damage", ["other", "missing"])
def test_a_mix_of_two_folders_is_told_and_not_used(two_files: str, another_machine: Move, damage: str) -> None:
    another_machine()
    place = storage.place(two_files)
    storage.fetch_folder(place)
    storage.remove(storage.place(f"{two_files}/two"))
    if damage == "other":
        overwrite(f"{two_files}/two", b"x")
    storage.fetch_folder(place)  # what was fetched whole is still what the list names
    assert everything_in(place) == {"one": b"1", "two": b"2", "sub/deep": b"3"}
    another_machine()
    new = storage.place(two_files)
    with pytest.raises(InputError, match=rf"^{two_files} is not whole: two is not what .files.json there names"):
        storage.fetch_folder(new)
    assert not new.exists()


def test_a_folder_that_was_put_half_is_not_there(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = storage.place(f"{root}/folder")
    write_folder(place, one=b"1", two=b"2")
    store, _ = fsspec.core.url_to_fs(root, use_listings_cache=False)  # which fsspec gives again to who asks so
    real = store.put_file

    def fails(path: str, key: str) -> None:
        if key.endswith("two"):
            raise ConnectionResetError("the line is cut")
        real(path, key)

    monkeypatch.setattr(store, "put_file", fails)
    with pytest.raises(InputError, match="the line is cut"):
        storage.put_folder(place)
    assert names_below(f"{root}/folder") == ["one"]
    assert storage.names_in(place) is None
    storage.fetch_folder(place)
    assert not place.exists()


def test_names_that_lead_out_of_the_folder_are_refused(bucket: str, another_machine: Move) -> None:
    folder = another_machine()
    overwrite(f"{bucket}/model/../../../../out", b"x")
    overwrite(f"{bucket}/model/config.json", b"{}")
    with pytest.raises(InputError, match=r"holds names that lead out of it \(\.\.\)"):
        linear_video.load(f"{bucket}/model")
    overwrite(f"{bucket}/model/.files.json", b'{"../../../../out": "0"}')
    assert storage.names_in(storage.place(f"{bucket}/model")) is None
    assert everything_in(folder) == {}


def test_sub_folders_are_removed_but_for_some(root: str) -> None:
    for name in ("a", "b", "c"):
        write_folder(storage.place(f"{root}/all/{name}"), file=b"x")
        storage.put_folder(storage.place(f"{root}/all/{name}"))
    overwrite(f"{root}/all/file", b"stays")
    storage.remove_all_but(storage.place(f"{root}/all"), ["b"])
    assert names_below(f"{root}/all") == ["b/.files.json", "b/file", "file"]


# --- what is wrong with a store -------------------------------------------------------------------------------------


def test_a_missing_bucket_and_a_closed_port_are_told_in_a_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.check(f"{bucket}/x")
    with pytest.raises(InputError, match=r"^s3://no-such-bucket/x cannot be read or written: .*bucket does not exist"):
        storage.check("s3://no-such-bucket/x")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": QUICK})
    with pytest.raises(InputError, match="Could not connect to the endpoint URL"):
        storage.check(f"{bucket}/x")


QUICK = {"retries": {"max_attempts": 0}}


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"s3fs.* pip install 'linear-video\[storage\]'"):
        storage.check("s3://bucket/x")
    with pytest.raises(InputError, match="Protocol not known: strange"):
        storage.check("strange://bucket/x")


def test_credentials_become_arguments_of_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "memory", {"kept": "x"})
    monkeypatch.delenv("FSSPEC_MEMORY", raising=False)
    monkeypatch.setenv("FSSPEC_MEMORY", "{}")  # which is taken back after the test
    storage.use_credentials({"memory": {"key": "mine"}, "my_database": {"user": "me"}})
    store, _ = fsspec.core.url_to_fs("memory://x")
    assert store.storage_options == {"kept": "x", "key": "mine"}
    known: dict[str, Any] = {}
    fsspec.config.set_conf_env(known)  # as a process does that is started from here
    assert known["memory"] == {"kept": "x", "key": "mine"}


# --- datasets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [True, False])
def test_clips_lie_as_zarr_and_come_back_as_memory_map(root: str, another_machine: Move, states: bool) -> None:
    clips = make_clips(count=7, states=states, actions=not states)
    ClipSetDataset(filepath=f"{root}/clips").save(clips)
    another_machine()
    dataset = ClipSetDataset(filepath=f"{root}/clips")
    assert dataset.exists()
    loaded = dataset.load()
    check_equal(loaded, clips)
    assert isinstance(loaded.frames, np.memmap)
    array = zarr.open_array(zarr.storage.FsspecStore.from_url(f"{root}/clips/frames.zarr"), mode="r")
    np.testing.assert_array_equal(array[:], clips.frames)
    assert array.metadata.zarr_format == 3
    assert array.chunks == (1, *clips.frames.shape[1:])
    assert "frames.zarr/zarr.json" in [str(path.relative_to(dataset._filepath)) for path in dataset.files()]


INDICES: list[Any] = [
    3,
    -1,
    slice(1, 6, 2),
    slice(None, None, -3),
    np.array([5, 0, 5]),
    np.array([[1, 2], [2, 0]]),
    np.array([True, False] * 3 + [True]),
    (2, slice(1, 3)),
    (slice(2, 4), slice(None), 0),
    (1, np.array([3, 0])),
    (np.array([4, 1])[:, None], np.array([0, 2])),
    (slice(0, 3), np.array([0, 2])),
]


@pytest.mark.parametrize("number", range(len(INDICES)))
def test_stored_frames_are_indexed_as_an_array_in_memory(number: int, another_machine: Move) -> None:
    another_machine()
    clips = make_clips(count=7)
    ClipSetDataset(filepath="memory://indices/clips").save(clips)
    frames = ClipSetDataset(filepath="memory://indices/clips", by_clip=True).load().frames
    np.testing.assert_array_equal(frames[INDICES[number]], clips.frames[INDICES[number]])
    np.testing.assert_array_equal(np.asarray(frames), clips.frames)


def test_one_clip_is_read_without_the_others(another_machine: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    another_machine()
    frames = np.random.default_rng(0).integers(0, 256, (40, 8, 1, 32, 32), dtype=np.uint8)  # nothing to compress
    table = pd.DataFrame({"source": "x", "label": "", "start": range(40)})
    ClipSetDataset(filepath="memory://one/clips").save(ClipSet(frames, table))
    folder = another_machine()
    read = 0
    store = type(fsspec.filesystem("memory"))
    real = store.cat_file

    def counted(self: Any, *arguments: Any, **named: Any) -> bytes:
        nonlocal read
        found: bytes = real(self, *arguments, **named)
        read += len(found)
        return found

    monkeypatch.setattr(store, "cat_file", counted)
    loaded = ClipSetDataset(filepath="memory://one/clips", by_clip=True).load()
    np.testing.assert_array_equal(loaded.frames[17], frames[17])
    assert frames[17].nbytes < read < 3 * frames[17].nbytes
    assert sum(len(data) for data in everything_in(folder).values()) < frames[17].nbytes


def test_small_files_go_there_and_back(root: str, another_machine: Move) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    saved: dict[str, tuple[Any, Any]] = {
        "table.csv": (CSVDataset, table),
        "scores.json": (JSONDataset, {"psnr": [1.5]}),
        "page.html": (TextDataset, "<p>é</p>"),
        "array.npy": (ArrayDataset, np.arange(6.0).reshape(2, 3)),
    }
    arguments = {"table.csv": {"save_args": {"index": False}}}
    datasets = {n: kind(filepath=f"{root}/x/{n}", **arguments.get(n, {})) for n, (kind, _) in saved.items()}
    assert not any(dataset.exists() for dataset in datasets.values())
    for name, (_, data) in saved.items():
        datasets[name].save(data)
    assert names_below(f"{root}/x") == sorted(saved)
    another_machine()
    for name, (kind, data) in saved.items():
        dataset = kind(filepath=f"{root}/x/{name}")
        assert dataset.exists()
        loaded = dataset.load()
        assert loaded.equals(data) if name == "table.csv" else np.array_equal(loaded, data)
    assert FactsDataset(filepath=f"{root}/x/none.json").load() == {}
    with pytest.raises(DatasetError):
        JSONDataset(filepath=f"{root}/x/none.json").load()


def test_pictures_are_put_beside_what_else_is_there(root: str, another_machine: Move) -> None:
    JSONDataset(filepath=f"{root}/ile/scores.json").save({})
    FiguresDataset(filepath=f"{root}/ile").save({"filmstrip": Figure(), "horizon": Figure()})
    FigureDataset(filepath=f"{root}/sheet.png").save(Figure())
    assert names_below(root) == ["ile/filmstrip.png", "ile/horizon.png", "ile/scores.json", "sheet.png"]
    another_machine()
    dataset = FiguresDataset(filepath=f"{root}/ile")
    assert dataset.exists()
    assert content(f"{root}/ile/filmstrip.png").startswith(b"\x89PNG")
    assert len(str(dataset.preview())) > 100


def test_results_of_all_models_are_found(root: str, another_machine: Move) -> None:
    dataset: Any = ResultsDataset(
        path=root, filename_suffix="/digits/predictions.npy", dataset="linear_video.io.clips.ArrayDataset"
    )
    assert dataset.load() == {}
    for model in ("ile", "lds"):
        ArrayDataset(filepath=f"{root}/{model}/digits/predictions.npy").save(np.full(3, len(model)))
    another_machine()
    assert [storage.url_of(path) for path in dataset.files()] == [
        f"{root}/{model}/digits/predictions.npy" for model in ("ile", "lds")
    ]
    loaded = dataset.load()
    assert sorted(loaded) == ["ile", "lds"]
    np.testing.assert_array_equal(loaded["ile"](), np.full(3, 3))


@pytest.fixture
def model_url(root: str) -> str:
    torch.manual_seed(0)
    model = build("lds", (1, 4, 4), {"state_dimension": 3})
    CheckpointDataset(filepath=f"{root}/models/lds").save(Checkpoint(model, describe("lds", model)))
    return f"{root}/models/lds"


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_model_is_loaded_by_its_url(model_url: str, another_machine: Move, by_hand: bool) -> None:
    assert names_below(model_url) == [".files.json", "config.json", "model.safetensors"]
    torch.manual_seed(0)
    expected = build("lds", (1, 4, 4), {"state_dimension": 3}).state_dict()
    another_machine()
    if by_hand:  # as a copy of a local folder would be
        store, key = fsspec.core.url_to_fs(model_url)
        store.rm_file(f"{key}/.files.json")
    loaded = linear_video.load(model_url).model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_url_without_a_model_is_told(root: str) -> None:
    with pytest.raises(InputError, match=f"{root}/none holds no trained model"):
        linear_video.load(f"{root}/none")


def test_a_state_goes_on_elsewhere_until_it_is_discarded(root: str, another_machine: Move) -> None:
    folder = StateFolderDataset(filepath=f"{root}/model.training_state").load()
    write_folder(folder, **{"last.ckpt": b"state"})
    storage.put_files(folder)
    overwrite(f"{root}/model/config.json", b"{}")
    another_machine()
    dataset = StateFolderDataset(filepath=f"{root}/model.training_state")
    assert everything_in(dataset.load()) == {"last.ckpt": b"state"}
    dataset.discard()
    assert names_below(root) == ["model/config.json"]
    assert not dataset._filepath.exists()
