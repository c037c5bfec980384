"""Trained models on disk: ``model.safetensors`` and ``config.json`` in a folder. Nothing is ever unpickled."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from linear_video.common.errors import InputError
from linear_video.common.files import replacing_folder
from linear_video.models.base import VideoModel
from linear_video.models.registry import build, model_class

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TRAINING_STATE = "training_state"  # sub-folder, of a training that has not ended
FORMAT = 1  # of checkpoints; to be raised where weights of before would mean something else


def save_checkpoint(folder: Path, model: VideoModel, config: dict[str, Any]) -> None:
    """Write a model and its config (of ``registry.describe``, and what else is worth keeping).

    Both change in one step, with the whole folder: what else lies there is taken along, but for the state of the
    training, which ends. The config tells the format, and the weights' SHA-256.

    Raises:
        NoRoomError: if the disk is full, or a quota or limit is reached; what was there before stays.
    """
    with replacing_folder(folder) as part:
        for other in sorted(folder.iterdir()) if folder.is_dir() else ():
            if other.is_dir() and other.name != TRAINING_STATE:
                shutil.copytree(other, part / other.name, symlinks=True)
            elif other.is_file() and other.name not in (WEIGHTS, CONFIG):
                shutil.copy2(other, part / other.name, follow_symlinks=False)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part / WEIGHTS)
        stamp = {"format": FORMAT, "weights_sha256": _digest(part / WEIGHTS)}
        (part / CONFIG).write_text(json.dumps({**config, **stamp}, indent=2) + "\n")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.

    Raises:
        InputError: if it is missing, damaged, or of another version.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: there is no trained model in {folder}; train one first.") from error
    except ValueError as error:
        raise InputError(f"{path} is no valid JSON ({error}); train the model again.") from error
    if not isinstance(config, dict) or not {"model", "frame_shape", "settings"} <= config.keys():
        raise InputError(f"{path} must name model, frame_shape and settings; train the model again.")
    if config.get("format") != FORMAT:
        raise InputError(
            f"{path} is of format {config.get('format', 0)}, but this version of linear-video reads format {FORMAT}; "
            "train the model again, or use the version that it was trained with."
        )
    return config


def load_checkpoint(folder: Path) -> VideoModel:
    """Read a model back, ready to predict (``eval`` mode, on the CPU).

    Raises:
        InputError: if a file is missing, damaged or tampered with, or the weights do not fit the config.
    """
    config = load_config(folder)
    settings = model_class(config["model"]).settings_of_before(config["settings"])
    model = build(config["model"], config["frame_shape"], settings)
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path} is missing; train the model again.")
    if _digest(path) != config.get("weights_sha256"):
        raise InputError(
            f"{path} is not what was saved: its SHA-256 differs from the one in {CONFIG}. It is damaged, or from "
            "another model; copy both files again, or train the model again."
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); train the model again.") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{path} holds weights of another shape than {CONFIG} describes: {error}") from error
    return model.eval()
