"""Broken inputs of every kind for ``benchmarks/fuzz.py``, made from small valid ones that this module writes."""

import copy
import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

EXTREMES = (
    0,
    1,
    2,
    3,
    127,
    128,
    255,
    256,
    1000,
    2**15,
    2**16 - 1,
    2**20,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
# Values to put where something else is expected.
HOSTILE: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 0.5,
    lambda: 10**9,
    lambda: 2**63,
    lambda: 10**400,
    lambda: 1e308,
    lambda: float("inf"),
    lambda: float("-inf"),
    lambda: float("nan"),
    lambda: "",
    lambda: "a",
    lambda: "0-99999999999",
    lambda: "../../etc/passwd",
    lambda: "\0\n\u2028\ud83d",
    lambda: "x" * 100_000,
    lambda: [],
    lambda: {},
    lambda: ["a"],
    lambda: [1] * 1000,
    lambda: [-1, -1],
    lambda: [10**9, 10**9],
    lambda: {"a": {"b": [1]}},
    lambda: nested(50),
    lambda: nested(500),
)


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


# --- small sound inputs ---------------------------------------------------------------------------------------------


def frames(count: int = 6, side: int = 16) -> np.ndarray:
    """A square that moves over noise: uint8 (T, h, w, 3)."""
    made = np.random.default_rng(0).integers(0, 60, (count, side, side, 3), np.uint8)
    for t in range(count):
        made[t, t : t + 6, t : t + 6] = 220
    return made


def write_videos(folder: Path) -> None:
    """Write one video for each codec and container that OpenCV can write."""
    kinds = (
        ("FFV1", ".avi"),
        ("FFV1", ".mkv"),
        ("MJPG", ".avi"),
        ("mp4v", ".mp4"),
        ("mp4v", ".mov"),
        ("VP80", ".webm"),
    )
    for codec, suffix in kinds:
        path = str(folder / f"{codec}{suffix}")
        writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25.0, (16, 16), True)
        for frame in frames():
            writer.write(frame)
        writer.release()
    first, *rest = (Image.fromarray(frame).quantize(32) for frame in frames())
    first.save(folder / "palette.gif", save_all=True, append_images=rest, duration=80, loop=0)


def write_images(folder: Path) -> None:
    """Write pictures of several formats and depths."""
    picture = frames(1)[0]
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tif"):
        cv2.imwrite(str(folder / f"colour{suffix}"), picture)
        cv2.imwrite(str(folder / f"grey{suffix}"), picture[..., 0])
    cv2.imwrite(str(folder / "deep.png"), 257 * picture.astype(np.uint16))
    cv2.imwrite(str(folder / "opacity.png"), np.dstack((picture, picture[..., 0])))
    Image.fromarray(picture).save(folder / "progressive.jpg", progressive=True)
    Image.fromarray(picture).quantize(8).save(folder / "palette.png")
    Image.fromarray(picture).save(folder / "plain.tif", compression=None)


def write_arrays(folder: Path) -> None:
    """Write arrays of several types and numbers of dimensions."""
    made = frames()
    for name, values in {
        "bytes": made,
        "grey": made[..., 0],
        "several": np.stack((made, made)),
        "floats": made / 255,
        "integers": made.astype(np.int32),
        "columns": np.asfortranarray(made),
        "objects": np.array([{}, 1], object),
        "fields": np.zeros((6, 4, 4), [("a", "u1"), ("b", "f8")]),
    }.items():
        np.save(folder / f"{name}.npy", values)


def write_matlab(folder: Path) -> None:
    """Write variables and cells, compressed and not, in both versions that SciPy writes."""
    made = frames()[..., 0].transpose(1, 2, 0)
    cells = np.empty((2, 1), object)
    cells[:, 0] = [made, made[:, :, :3]]
    for name, content in {
        "variable": {"film": made},
        "cells": {"films": cells},
        "record": {"s": {"film": made}},
    }.items():
        savemat(folder / f"{name}.mat", content)
        savemat(folder / f"{name}-compressed.mat", content, do_compression=True)
    savemat(folder / "old.mat", {"film": made[..., 0]}, format="4")


def write_idx(folder: Path) -> None:
    """Write pictures and labels, plain and compressed."""
    for name, values in {"images": frames()[..., 0], "labels": np.arange(6, dtype=np.uint8)}.items():
        content = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
        (folder / f"{name}.idx").write_bytes(content)
        (folder / f"{name}.idx.gz").write_bytes(gzip.compress(content))


def write_norb(folder: Path, stem: str) -> None:
    """Write the three files of one half of small NORB."""
    views, byte, integer = 36, 0x1E3D4C55, 0x1E3D4C54
    images = np.random.default_rng(0).integers(0, 256, (views, 2, 8, 8), np.uint8)
    info = np.array([(i % 10, i % 9, 2 * (i % 18), i % 6) for i in range(views)], "<i4")
    category = np.array([i % 5 for i in range(views)], "<i4")
    for kind, magic, values in (("dat", byte, images), ("cat", integer, category), ("info", integer, info)):
        sizes = [*values.shape, *[1] * (3 - values.ndim)]
        header = struct.pack(f"<2i{len(sizes)}i", magic, values.ndim, *sizes)
        (folder / f"{stem}-{kind}.mat").write_bytes(header + values.tobytes())


# --- what breaks them -----------------------------------------------------------------------------------------------


def broken_bytes(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """Content with one to three changes; sometimes entirely different content."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = _broken_once(content, random, others)
    return content


def _broken_once(content: bytes, random: Random, others: list[bytes]) -> bytes:
    data, size = bytearray(content), len(content)
    # Most of what a reader relies on is at the beginning.
    place = random.randrange(min(size, 200) if random.random() < 0.6 else size) if size else 0
    kind = random.randrange(10)
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:
        for _ in range(random.choice((1, 1, 4, 64))):
            at = random.randrange(size) if size else 0
            data[at : at + 1] = bytes([data[at] ^ 1 << random.randrange(8)]) if size else b""
    elif kind in (2, 3, 4):
        width, order = random.choice((1, 2, 4, 4, 8)), random.choice("<>")
        value = random.choice(EXTREMES) % 2 ** (8 * width)
        data[place : place + width] = struct.pack(
            f"{order}{dict(zip((1, 2, 4, 8), 'BHIQ', strict=True))[width]}", value
        )
    elif kind == 5:
        data[place : place + random.choice((1, 4, 16, 256))] = b""
    elif kind == 6:
        data[place:place] = (
            random.randbytes(random.choice((1, 4, 256))) if random.random() < 0.5 else data[place:][:500]
        )
    elif kind == 7:
        data[place:] = random.randbytes(size - place) if random.random() < 0.5 else bytes(size - place)
    elif kind == 8:
        return random.choice((b"", b"\0", random.randbytes(300), b"[" * 5000, b"#EXTM3U\n/etc/passwd\n", bytes(5000)))
    else:
        other = random.choice(others)
        return other if random.random() < 0.3 else bytes(data[:place]) + other[place:]
    return bytes(data)


def broken_tree(tree: Any, random: Random) -> Any:
    """A tree of mappings and lists with one to three of its nodes changed."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = random.choice(places)
        kind = random.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random.choice((f"{key}s", "", "x" * 1000, "a.b", "\n"))] = holder.pop(key)
        elif kind == 2:
            other, there = random.choice(places)
            holder[key] = copy.deepcopy(other[there])
        elif kind == 3 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = random.choice((-holder[key], 10 * holder[key], holder[key] + 0.5, str(holder[key])))
        else:
            holder[key] = random.choice(HOSTILE)()
    return tree


def _places(tree: Any) -> Any:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key]) if isinstance(tree[key], dict | list) else ()


def broken_norb(source: Path, target: Path, random: Random) -> None:
    """Copy the files of one half, with one of them broken; they may be compressed first."""
    contents = {path.name: path.read_bytes() for path in sorted(source.iterdir())}
    name, others = random.choice(list(contents)), list(contents.values())
    content = contents.pop(name)
    if random.random() < 0.5:
        name, content = f"{name}.gz", gzip.compress(content)
    contents[name] = broken_bytes(content, random, [*others, content])
    target.mkdir()
    for name, content in contents.items():
        (target / name).write_bytes(content)


def broken_checkpoint(source: Path, target: Path, random: Random, others: list[bytes]) -> None:
    """Copy a checkpoint with errors in its config, its weights or both; often signed as if it were valid."""
    config, weights = json.loads((source / "config.json").read_text()), (source / "model.safetensors").read_bytes()
    signed, kind = random.random() < 0.8, random.randrange(4)
    if kind < 2:
        stamp = {name: config.pop(name) for name in ("format", "weights_sha256", "config_sha256")}
        config = {**broken_tree(config, random), **stamp}
    elif kind == 2:
        weights = broken_bytes(weights, random, others)
    if kind != 3 and signed:
        config.pop("config_sha256", None)
        config["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        told = json.dumps(config, sort_keys=True, separators=(",", ":"))
        config["config_sha256"] = hashlib.sha256(told.encode()).hexdigest()
    text = json.dumps(config).encode()
    if kind == 3:
        text = broken_bytes(text, random, others)
    target.mkdir(exist_ok=True)
    (target / "config.json").write_bytes(text)
    (target / "model.safetensors").write_bytes(weights)


def broken_request(random: Random) -> tuple[bytes, dict[str, str]]:
    """Text and headers of a request."""
    size, count = random.choices((1, 3, 8, 16, 40), k=2), random.choice((1, 11, 12, 20))  # some are thin
    made = np.random.default_rng(random.randrange(2**31)).integers(0, 256, (count, *size, random.choice((1, 3))))
    content: Any = {"inputs": made.tolist(), "params": {"horizon": random.choice((1, 2, 5, 5, 1000))}}
    if random.random() < 0.02:  # a megabyte or two that would become gigabytes
        content = {"inputs": np.zeros((10, 300, 300, 1), int).tolist(), "params": {"horizon": 1000}}
    elif random.random() < 0.6:
        content = broken_tree(content, random)
    text = json.dumps(content).encode()
    if random.random() < 0.4:
        text = broken_bytes(text, random, [b'{"inputs": NaN}', b"[" * 100_000, b'{"a": ' * 5000])
    headers = {"Content-Type": "application/json"}
    if random.random() < 0.1:
        headers = random.choice(({}, {"Content-Type": "text/csv"}, {"Content-Type": "\xff" * 200}))
    return text, headers
