import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from linear_video.common.errors import InputError
from linear_video.models.checkpoint import load_checkpoint, load_config, save_checkpoint
from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.settings import IleSettings
from linear_video.models.registry import build, describe

SHAPE = (1, 4, 4)
SMALL = IleSettings(
    dynamics="dense",
    state_dimension=6,
    blocks=1,
    first_squeezes=1,
    couplings=2,
    hidden_channels=4,
    noise=0.0,
    scale="batch_mean",
)


def new_model() -> InvertibleLinearEmbedding:
    torch.manual_seed(0)
    return InvertibleLinearEmbedding(SHAPE, SMALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = new_model()
    save_checkpoint(tmp_path / "model", model, {**describe("ile", model), "training": {"steps": 3}})
    return tmp_path / "model"


def change_config(folder: Path, **changes: Any) -> None:
    """None takes an entry out."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def sign(folder: Path) -> None:
    """As if the weights had been saved as they are."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    change_config(folder, weights_sha256=digest)


def test_checkpoint_round_trip(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    context = torch.rand(3, 5, *SHAPE, generator=torch.Generator().manual_seed(2))
    loaded: Any = load_checkpoint(folder)
    assert not loaded.training
    assert torch.equal(loaded.predict(context, 2), new_model().eval().predict(context, 2))
    assert load_config(folder)["training"] == {"steps": 3}


def test_config_tells_the_format_and_the_digest_of_the_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == 1
    assert config["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("saved", ["1", 2])
def test_another_format_is_named(folder: Path, saved: Any) -> None:
    change_config(folder, format=saved)
    for load in (load_config, load_checkpoint):
        with pytest.raises(InputError, match=f"is of format {saved}, but this version.*reads format 1"):
            load(folder)


def test_a_checkpoint_from_before_there_were_formats_is_named(folder: Path) -> None:
    change_config(folder, format=None)
    with pytest.raises(InputError, match="is of format 0"):
        load_checkpoint(folder)


def test_weights_that_were_tampered_with_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["prior.theta_alpha"][0] += 1e-9
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors is not what was saved.*copy both files again"):
        load_checkpoint(folder)
    sign(folder)
    loaded: Any = load_checkpoint(folder)
    assert torch.equal(loaded.prior.theta_alpha, weights["prior.theta_alpha"])


def test_weights_of_another_model_of_the_same_shape_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = InvertibleLinearEmbedding(SHAPE, SMALL)
    save_checkpoint(tmp_path / "other", other, describe("ile", other))
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(InputError, match="is not what was saved"):
        load_checkpoint(folder)


def test_a_config_without_a_digest_is_refused(folder: Path) -> None:
    change_config(folder, weights_sha256=None)
    with pytest.raises(InputError, match="is not what was saved"):
        load_checkpoint(folder)


def test_damaged_checkpoints_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing.*train one first"):
        load_checkpoint(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"model\.safetensors is not what was saved"):
        load_checkpoint(folder)
    sign(folder)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_checkpoint(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="no valid JSON"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="must name model"):
        load_checkpoint(folder)


def test_checkpoint_of_another_shape_is_named(tmp_path: Path) -> None:
    model = new_model()
    save_checkpoint(tmp_path, model, {**describe("ile", model), "frame_shape": [1, 8, 8]})
    with pytest.raises(InputError, match="another shape"):
        load_checkpoint(tmp_path)


def test_saving_again_replaces_weights_and_digest_together(folder: Path) -> None:
    torch.manual_seed(5)
    model: Any = InvertibleLinearEmbedding(SHAPE, SMALL)
    save_checkpoint(folder, model, describe("ile", model))
    loaded: Any = load_checkpoint(folder)
    assert torch.equal(loaded.prior.observation, model.prior.observation)
    assert "training" not in load_config(folder)


def test_what_a_config_says_of_the_stamp_does_not_count(tmp_path: Path) -> None:
    """A config that was loaded may be saved with other weights."""
    model = build("last_frame", SHAPE, {})
    config = {**describe("last_frame", model), "format": 0, "weights_sha256": "of others"}
    save_checkpoint(tmp_path, model, config)
    assert load_config(tmp_path)["format"] == 1
    load_checkpoint(tmp_path)
