"""Files and folders that lie at a URL (``s3://bucket/prefix``): each has a place on this machine, which holds a copy.

The place follows from the URL alone and the URL from the place, so code that is handed the place can fetch from the
store and put into it. For a path that is not such a place, every function here does nothing: such a path is the file
or folder itself.

A store takes up a single file whole or not at all. A folder is put file by file, and a list of its names and SHA-256
comes last. Whoever fetches a folder takes what the list names and compares the digests. A folder that was only half
put, or was put by two writers at once, is noticed and never used.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from linear_video.common.errors import InputError, NoRoomError
from linear_video.common.files import files_below, recover, replacing_file, replacing_folder, sha256_of

CACHE = "LINEAR_VIDEO_CACHE"  # environment variable: the folder of the copies on this machine
MARK = "linear_video_store"  # folder in there, below which a path tells a URL
KNOWN = f"{MARK}.known"  # folder beside it: what is known of each copy
LIST = ".files.json"  # in a folder at a URL: the SHA-256 of its files by name
PROBE = ".writable"  # what a run writes first
OTHERS = ("file", "local", "mlflow-artifacts")  # protocols of URLs that are not for us
TRIES = 3  # to fetch what somebody else is replacing
BLOCK = 2**23  # bytes


def is_url(where: str | Path) -> bool:
    """Whether something lies in a store."""
    protocol, separator, _ = str(where).partition("://")
    return bool(separator) and protocol not in OTHERS


def place(where: str | Path) -> Path:
    """The place on this machine of a URL; of a path, the path.

    Raises:
        InputError: if the URL cannot be used.
    """
    if not is_url(where):
        return Path(str(where).removeprefix("file://"))
    protocol, _, rest = str(where).partition("://")
    parts = [part for part in rest.split("/") if part]
    if "::" in str(where) or not parts or {".", ".."} & set(parts):
        raise InputError(f"{where} is not a URL of a store, such as s3://bucket/prefix.")
    return _cache() / MARK / protocol / Path(*parts)


def url_of(path: Path) -> str | None:
    """The URL of a place; None of any other path."""
    below = _below_mark(path)
    return None if len(below) < 2 else f"{below[0]}://{'/'.join(below[1:])}"


def _below_mark(path: Path) -> tuple[str, ...]:
    """The protocol and what follows of a place; empty of any other path."""
    if MARK not in path.parts:
        return ()
    parts = Path(os.path.normpath(path)).parts  # a stamp names files from where it lies: ../08_reporting/...
    return parts[parts.index(MARK) + 1 :] if MARK in parts else ()


def here(path: Path) -> Path:
    """The place on this machine of what has a place on another machine; of any other path, the path."""
    url = url_of(path)
    return path if url is None else place(url)


def name_of(path: Path) -> str:
    """What users are told of a path: its URL, if it has one."""
    return url_of(path) or str(path)


def with_urls(text: str) -> str:
    """A text with the URLs in place of their places on this machine."""
    return re.sub(rf"{re.escape(str(_cache() / MARK))}/(\w+)/", r"\1://", text)


def check(url: str) -> None:
    """See that a store is there, and can be written to.

    Raises:
        InputError: if it is not, cannot be written to, or needs a package that is not installed.
    """
    with _reached(place(url)) as (store, key):
        store.pipe_file(f"{key}/{PROBE}", b"")


def use_credentials(credentials: dict[str, Any]) -> None:
    """Let a protocol's entry (``s3: {key: ..., secret: ...}``) be the arguments of its file system in fsspec.

    Processes that are started from here have them, too.
    """
    for protocol, arguments in credentials.items():
        if isinstance(arguments, dict) and protocol in fsspec.available_protocols():
            fsspec.config.conf.setdefault(protocol, {}).update(arguments)
            os.environ[f"FSSPEC_{protocol.upper()}"] = json.dumps(fsspec.config.conf[protocol])


def state(path: Path) -> str | None:
    """What changes with a file in the store; None if it is not there."""
    with _reached(path) as (store, key):
        return _state(store, key)


def sha256(path: Path) -> str:
    """SHA-256 of a file in the store, which is read unless it is known to be as it was."""
    with _reached(path) as (store, key):
        found, known = _state(store, key), _known(path)
        if found is not None and known.get("state") == found:
            return str(known["sha256"])
        digest = hashlib.sha256()
        with store.open(key, "rb", block_size=BLOCK) as file:
            while block := file.read(BLOCK):
                digest.update(block)
    _note(path, {"state": found, "sha256": digest.hexdigest()})
    return digest.hexdigest()


def fetch_file(path: Path) -> None:
    """Let a place hold what the store has: the file, unless it is here already, or nothing.

    Raises:
        InputError: if the store cannot be reached.
    """
    if url_of(path) is None:
        return
    with _reached(path) as (store, key):
        for _ in range(TRIES):
            found, known = _state(store, key), _known(path)
            if found is None:
                path.unlink(missing_ok=True)
                return
            if known.get("state") == found and known.get("here") == _here(path):
                return
            with replacing_file(path) as part:
                store.get_file(key, str(part))
            if _state(store, key) == found:
                _note(path, {"state": found, "sha256": sha256_of(path), "here": _here(path)})
                return
    raise InputError(f"{url_of(path)} changes while it is read; let one run at a time write there.")


def put_file(path: Path) -> None:
    """Put the file at a place into the store, unless it is there already.

    Raises:
        InputError: if the store cannot be reached; what was there before stays.
    """
    if url_of(path) is None:
        return
    with _reached(path) as (store, key):
        known = _known(path)
        if known.get("here") != _here(path) or known.get("state") != _state(store, key):
            store.put_file(str(path), key)
            _note(path, {"state": _state(store, key), "sha256": sha256_of(path), "here": _here(path)})


def fetch_files(path: Path) -> None:
    """Fetch each file of a folder on its own, where the files themselves tell what is sound."""
    if url_of(path) is None:
        return
    with _reached(path) as (store, key):
        names = {found[len(key) :].lstrip("/") for found in store.find(key)} - {"", LIST}
    if any(".." in name.split("/") for name in names):
        raise InputError(f"{url_of(path)} holds names that lead out of it (..); remove them.")
    for name in sorted(names):
        fetch_file(path / name)
    for file in files_below(path):
        if file.relative_to(path).as_posix() not in names:
            file.unlink()


def put_files(path: Path, first: Collection[str] = ()) -> None:
    """Put each file of a folder on its own, those of the names in ``first`` before the others; remove all others."""
    if url_of(path) is None:
        return
    files = sorted(files_below(path), key=lambda file: file.name not in first)
    for file in files:
        put_file(file)
    names = {file.relative_to(path).as_posix() for file in files}
    with _reached(path) as (store, key):
        for found in store.find(key):
            if found[len(key) :].lstrip("/") not in names:
                store.rm_file(found)


def fetch_folder(path: Path, unpack: Callable[[Path], None] | None = None) -> None:
    """Let a place hold the folder that the store has, unless it is here already; or nothing, if it has no whole one.

    ``unpack`` is given the folder once it has been fetched, and may change it, before it takes its place.

    Raises:
        InputError: if the store cannot be reached, or the folder there is not what its list names.
    """
    if url_of(path) is None:
        return
    with _reached(path) as (store, key):
        listed = _list(store, key)
        while True:
            if listed is None:
                shutil.rmtree(path, ignore_errors=True)
                return
            known = _known(path)
            if known.get("list") == _digest(listed) and known.get("here") == _here(path):
                return
            try:
                with replacing_folder(path) as part:
                    for name, digest in listed.items():
                        _get(store, key, name, part, digest)
                    if unpack is not None:
                        unpack(part)
            except _NotWholeError as error:
                before, listed = listed, _list(store, key)
                if listed == before:
                    raise InputError(
                        f"{url_of(path)} is not whole: {error} is not what {LIST} there names. A run that put it was "
                        "killed, or two runs put it at once. Run again what makes it."
                    ) from error
            else:
                _note(path, {"list": _digest(listed), "here": _here(path)})
                return


def put_folder(path: Path, source: Path | None = None) -> None:
    """Put the folder at a place into the store; or the content of another folder, ``source``, instead.

    Raises:
        InputError: if the store cannot be reached.
    """
    if url_of(path) is None:
        return
    source = source or path
    with _reached(path) as (store, key):
        before, listed = _list(store, key) or {}, {}
        for file in files_below(source):
            name = file.relative_to(source).as_posix()
            listed[name] = sha256_of(file)
            store.put_file(str(file), f"{key}/{name}")
            _note(path / name, {"state": _state(store, f"{key}/{name}"), "sha256": listed[name]})
        store.pipe_file(f"{key}/{LIST}", json.dumps(listed, indent=1).encode())
        for name in before.keys() - listed.keys():
            with suppress(FileNotFoundError):
                store.rm_file(f"{key}/{name}")
    _note(path, {"list": _digest(listed), "here": _here(path)})


def names_in(path: Path) -> list[str] | None:
    """The names of the files of a folder in the store; None if there is no whole one."""
    with _reached(path) as (store, key):
        listed = _list(store, key)
    return None if listed is None else sorted(listed)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, here and from the store."""
    shutil.rmtree(path, ignore_errors=True)
    if url_of(path) is not None:
        with _reached(path) as (store, key), suppress(FileNotFoundError):
            store.rm(key, recursive=True)


def remove_all_but(path: Path, keep: Collection[str]) -> None:
    """Remove the sub-folders that are not named in ``keep`` from a folder in the store."""
    if url_of(path) is None:
        return
    with _reached(path) as (store, key):
        names = {found[len(key) :].lstrip("/").partition("/") for found in store.find(key)}
        for folder in {name for name, separator, _ in names if separator} - set(keep):
            store.rm(f"{key}/{folder}", recursive=True)


@contextmanager
def _reached(path: Path) -> Iterator[tuple[Any, str]]:
    """The file system of a place's store, and the name that the place has there.

    Raises:
        InputError: in place of what the file system raises.
    """
    url = url_of(path)
    if url is None:
        raise ValueError(f"{path} has no URL.")
    try:
        yield url_to_fs(url, use_listings_cache=False)  # other machines write there, too
    except (InputError, NoRoomError):
        raise
    except Exception as error:
        if isinstance(error, ImportError) or "Protocol not known" in str(error):
            told = f"{error}. What s3:// needs comes with the extra storage: pip install 'linear-video[storage]'"
        elif isinstance(error, OSError) or type(error).__module__ != "builtins":  # of the library of that store
            told = " ".join(str(error).split()) or type(error).__name__
            told = f"{told.rstrip('.')}. See that the store is there and may be used"
        else:
            raise
        raise InputError(f"{url} cannot be read or written: {told} (docs/how_to/storage.md).") from error


def _state(store: Any, key: str) -> str | None:
    try:
        info = store.info(key)
    except FileNotFoundError:
        return None
    if info["type"] != "file":
        return None
    tags = [str(info[name]) for name in ("ETag", "etag", "md5Hash") if info.get(name)]
    dates = [
        str(info[name]) for name in ("LastModified", "last_modified", "updated", "mtime", "created") if name in info
    ]
    return " ".join([str(info["size"]), *(tags or dates)])


def _list(store: Any, key: str) -> dict[str, str] | None:
    """What the list of a folder names; None if there is none, or something else."""
    try:
        listed = json.loads(store.cat_file(f"{key}/{LIST}"))
    except (FileNotFoundError, ValueError):
        return None
    fine = isinstance(listed, dict) and all(isinstance(digest, str) for digest in listed.values())
    fine = fine and not any(name.startswith("/") or ".." in name.split("/") for name in listed)
    return listed if fine else None


class _NotWholeError(InputError):
    """A file of a folder is not the one that the folder's list names."""


def _get(store: Any, key: str, name: str, folder: Path, digest: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    try:
        store.get_file(f"{key}/{name}", str(folder / name))
    except FileNotFoundError as error:
        raise _NotWholeError(name) from error
    if sha256_of(folder / name) != digest:
        raise _NotWholeError(name)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _here(path: Path) -> str:
    """What changes with the copy on this machine, a file or a folder."""
    recover(path)
    files = files_below(path) if path.is_dir() else [path] if path.exists() else []
    return _digest([(str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _known(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(_note_of(path).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _note(path: Path, known: dict[str, Any]) -> None:
    with replacing_file(_note_of(path)) as part:
        part.write_text(json.dumps(known))


def _note_of(path: Path) -> Path:
    *folders, name = _below_mark(path)
    return _cache() / KNOWN / Path(*folders, f"{name}.json")


def _cache() -> Path:
    if chosen := os.environ.get(CACHE):
        return Path(chosen).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("linear_video"))
