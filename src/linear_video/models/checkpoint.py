"""Trained models on disk: ``model.safetensors`` and ``config.json`` in a folder. Nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from linear_video.errors import InputError
from linear_video.files import replacing_file
from linear_video.models.contract import build

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_checkpoint(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write a model and its config (of ``contract.describe``, and what else is worth keeping).

    Each file is written beside its place, then renamed.

    Raises:
        OSError: if the disk is full; what was there before stays.
    """
    with replacing_file(folder / WEIGHTS) as weights, replacing_file(folder / CONFIG) as text:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
        text.write_text(json.dumps(config, indent=2) + "\n")


def load_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.

    Raises:
        InputError: if it is missing or damaged.
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
    return config


def load_checkpoint(folder: Path) -> nn.Module:
    """Read a model back, ready to predict (``eval`` mode, on the CPU).

    Raises:
        InputError: if a file is missing or damaged, or the weights do not fit the config.
    """
    config = load_config(folder)
    model = build(config["model"], config["frame_shape"], config["settings"])
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; train the model again.") from error
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); train the model again.") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{path} holds weights of another shape than {CONFIG} describes: {error}") from error
    return model.eval()
