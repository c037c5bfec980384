"""Trained models on disk: ``model.safetensors`` and ``config.json`` in a folder. Nothing is ever unpickled.

A checkpoint may have been damaged or forged: it is checked before memory is allocated, and each error names the file.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from linear_video.common.errors import InputError, shown
from linear_video.common.files import replacing_folder, sha256_of
from linear_video.models.base import VideoModel
from linear_video.models.registry import build, model_class

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 2  # of checkpoints; raise it when weights of earlier versions would mean something else
READ = (1, FORMAT)  # formats that can be read; format 1 has no digest of the config
MOST_CONFIG = 2**20  # bytes of a config
MOST_HEADER = 2**20  # bytes of the weights' file beside the weights
MOST_VALUES = 2**23  # of a frame; a third more than full HD in colour
SIGNATURE = "config_sha256"

Side = Annotated[int, Field(ge=1, le=2**13)]


class _Config(BaseModel):
    """The entries that every config must have; it may have others."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())

    model: Annotated[str, Field(max_length=100)]
    frame_shape: tuple[Annotated[int, Field(ge=1, le=64)], Side, Side]
    settings: dict[str, Any]


def save_checkpoint(folder: Path, model: VideoModel, config: dict[str, Any]) -> None:
    """Write a model and its config (from ``registry.describe``, with any further entries).

    Both change in one step, with the whole folder; other files in the folder are kept. The config contains the format,
    the SHA-256 of the weights, and its own SHA-256.

    Raises:
        NoRoomError: if the disk is full, or a quota or limit is reached; what was there before stays.
    """
    with replacing_folder(folder) as part:
        for other in sorted(folder.iterdir()) if folder.is_dir() else ():
            if other.is_dir():
                shutil.copytree(other, part / other.name, symlinks=True)
            elif other.is_file() and other.name not in (WEIGHTS, CONFIG):
                shutil.copy2(other, part / other.name, follow_symlinks=False)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part / WEIGHTS)
        (part / CONFIG).write_text(json.dumps(stamped(config, part / WEIGHTS), indent=2) + "\n")


def stamped(config: dict[str, Any], weights: Path) -> dict[str, Any]:
    """A config with the format, the digest of a file of weights, and the digest of its own entries."""
    told = {**json.loads(json.dumps(config)), "format": FORMAT, "weights_sha256": sha256_of(weights)}
    return {**told, SIGNATURE: _digest_of(told)}


def _digest_of(config: dict[str, Any]) -> str:
    """The digest of all entries except the digest itself, independent of their order and layout."""
    told = {name: value for name, value in config.items() if name != SIGNATURE}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.

    Raises:
        InputError: if it is missing, damaged, edited, or of another version.
    """
    path = folder / CONFIG
    config = _read_json(path)
    if not isinstance(config, dict) or not {"model", "frame_shape", "settings"} <= config.keys():
        raise InputError(f"{path} must name model, frame_shape and settings; train the model again.")
    if isinstance(config.get("format"), bool) or config.get("format") not in READ:
        raise InputError(
            f"{path} is of format {shown(config.get('format', 0))}, but this version of linear-video reads format "
            f"{FORMAT} and {READ[0]}; train the model again, or use the version that it was trained with."
        )
    if config["format"] == FORMAT and config.get(SIGNATURE) != _digest_of(config):
        raise InputError(
            f"{path} is not what was saved: its SHA-256 differs from the one that it names. It is damaged, or was "
            "edited; copy both files again, or train the model again."
        )
    try:
        _Config.model_validate_json(json.dumps(config))
    except ValidationError as error:
        raise InputError(f"{path} cannot be used: {_problem(error)}; train the model again.") from error
    channels, height, width = config["frame_shape"]
    if channels * height * width > MOST_VALUES:
        raise InputError(f"{path} cannot be used: frame_shape {config['frame_shape']} is more than {MOST_VALUES:,}.")
    return config


def _read_json(path: Path) -> Any:
    """The content of a JSON file of at most ``MOST_CONFIG`` bytes. NaN, infinity and repeated names are refused."""
    try:
        if not path.exists():
            raise InputError(f"{path} is missing: there is no trained model in {path.parent}; train one first.")
        if not path.is_file():  # a pipe or a device may never end
            raise InputError(f"{path} is not a regular file; train the model again.")
        with path.open("rb") as file:
            content = file.read(MOST_CONFIG + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    if len(content) > MOST_CONFIG:
        raise InputError(f"{path} has more than {MOST_CONFIG:,} bytes, which no config has; train the model again.")
    try:
        found = json.loads(content.decode(), object_pairs_hook=_without_copies, parse_constant=_no_number)
        _check_depth(found)
        return found
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); train the model again.") from error


def _without_copies(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(name for name in names if names.count(name) > 1))} appears twice in it")
    return found


def _check_depth(value: Any, left: int = 50) -> None:
    if not left:
        raise ValueError("it is nested too deeply")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(one, left - 1)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def _problem(error: ValidationError) -> str:
    """The first problem, in one line."""
    detail = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in detail["loc"])
    if "error" in detail.get("ctx", {}):  # which a settings class has found
        return shown(f"{name}{': ' * bool(name)}{detail['ctx']['error']}".rstrip("."), 300)
    return f"{name}: {detail['msg']}, not {shown(repr(detail['input']))}"


def load_checkpoint(folder: Path, config: dict[str, Any] | None = None) -> VideoModel:
    """Read a model back, ready to predict (``eval`` mode, on the CPU).

    ``config`` is the result of ``load_config``, if it has been read already. Before memory is allocated, the model that
    the config describes is compared with the header of the weights.

    Raises:
        InputError: if a file is missing, damaged or tampered with, or the weights do not fit the config.
    """
    path = folder / WEIGHTS
    config = load_config(folder) if config is None else config
    try:
        model = _outline(config)
    except InputError as error:
        raise InputError(f"{folder / CONFIG} cannot be used: {str(error).removesuffix('.')}.") from error
    if not path.is_file():
        raise InputError(f"{path} is missing; train the model again.")
    wanted = {name: _Layout(tuple(value.shape), value.dtype) for name, value in model.state_dict().items()}
    most = MOST_HEADER + sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if path.stat().st_size > most:
        raise InputError(f"{path} holds more than the model that {CONFIG} describes; train the model again.")
    try:
        if sha256_of(path) != config.get("weights_sha256"):
            raise InputError(
                f"{path} is not what was saved: its SHA-256 differs from the one in {CONFIG}. It is damaged, or from "
                "another model; copy both files again, or train the model again."
            )
        _check_layout(path, wanted)
        weights = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); train the model again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    broken = [name for name, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise InputError(f"{path} holds values of {broken[0]} that are not finite; train the model again.")
    # Filled in place: a model has made any tensors beside its weights on the CPU.
    model._apply(lambda value: torch.zeros_like(value, device="cpu") if value.is_meta else value)
    model.load_state_dict(weights)
    return model.eval()


def _outline(config: dict[str, Any]) -> VideoModel:
    """The model that a config describes, with weights that have a shape but no memory."""
    found = model_class(config["model"])
    given = found.settings_of_before(config["settings"])
    unknown = given.keys() - getattr(found.settings_class, "__dataclass_fields__", {}).keys()
    if unknown:
        raise InputError(f"settings: {shown(min(unknown))} is not a setting of the model {config['model']}")
    try:
        settings: Any = TypeAdapter(found.settings_class).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise InputError(f"settings: {_problem(error)}") from error
    try:
        with torch.device("meta"):
            return build(config["model"], config["frame_shape"], settings)
    except RuntimeError as error:  # of PyTorch, for shapes that no tensor can have
        raise InputError(f"no model can be built from it ({str(error).splitlines()[0]})") from error


class _Layout(NamedTuple):
    shape: tuple[int, ...]
    kind: torch.dtype


KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}  # as safetensors calls them


def _check_layout(path: Path, wanted: dict[str, _Layout]) -> None:
    """Compare the header of a file of weights with what a model needs.

    Raises:
        InputError: if a weight is missing, is not in the model, or has another shape or type.
    """
    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        found = {name: (tuple(one.get_shape()), KINDS.get(one.get_dtype())) for name, one in slices.items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            of = [f"{list(one[0])} {one[1]}" if one else "nothing" for one in (found.get(name), wanted.get(name))]
            raise InputError(
                f"{path} holds weights of another shape than {CONFIG} describes: {shown(name)} is {of[0]}, not "
                f"{of[1]}; train the model again."
            )
