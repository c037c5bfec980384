import hashlib
import json
import os
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
    """Change entries of a config; None removes an entry."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def sign(folder: Path, **changes: Any) -> None:
    """Write the digests, as if weights and config had been saved in their present state."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    change_config(folder, **changes, weights_sha256=digest, config_sha256=None)
    told = json.dumps(json.loads((folder / "config.json").read_text()), sort_keys=True, separators=(",", ":"))
    change_config(folder, config_sha256=hashlib.sha256(told.encode()).hexdigest())


def test_checkpoint_round_trip(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    context = torch.rand(3, 5, *SHAPE, generator=torch.Generator().manual_seed(2))
    loaded: Any = load_checkpoint(folder)
    assert not loaded.training
    assert torch.equal(loaded.predict(context, 2), new_model().eval().predict(context, 2))
    assert load_config(folder)["training"] == {"steps": 3}


def test_config_tells_the_format_and_the_digest_of_the_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == 2
    assert config["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("saved", ["1", 3, True])
def test_another_format_is_named(folder: Path, saved: Any) -> None:
    change_config(folder, format=saved)
    for load in (load_config, load_checkpoint):
        with pytest.raises(InputError, match=f"is of format {saved}, but this version.*reads format 2 and 1"):
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
    change_config(folder, config_sha256=None)
    with pytest.raises(InputError, match=r"config\.json is not what was saved"):
        load_checkpoint(folder)
    change_config(folder, weights_sha256=None, format=1)
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
    with pytest.raises(InputError, match="not valid JSON"):
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
    assert load_config(tmp_path)["format"] == 2
    load_checkpoint(tmp_path)


def test_an_edited_config_is_noticed_and_another_layout_is_none(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    load_checkpoint(folder)
    config = json.loads(path.read_text())
    change_config(folder, settings={**config["settings"], "fading_memory": 0.5})
    for load in (load_config, load_checkpoint):
        with pytest.raises(InputError, match=r"config\.json is not what was saved.*was edited"):
            load(folder)


def test_a_checkpoint_of_format_1_has_no_digest_of_its_config(folder: Path) -> None:
    change_config(folder, format=1, config_sha256=None)
    context = torch.rand(3, 5, *SHAPE, generator=torch.Generator().manual_seed(2))
    loaded: Any = load_checkpoint(folder)
    assert torch.equal(loaded.predict(context, 2), new_model().eval().predict(context, 2))


# Forged entries of a config, signed as if they had been saved, and the expected message.
FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "a list for a name": ({"model": ["a"]}, "model: .*string"),
    "a name that is none": ({"model": "x" * 10_000}, "model: .*at most 100"),
    "a name of nothing": ({"model": "elephant"}, "there is no model 'elephant'"),
    "a shape of two": ({"frame_shape": [1, 4]}, "frame_shape"),
    "a shape of text": ({"frame_shape": "1,4,4"}, "frame_shape"),
    "a negative shape": ({"frame_shape": [1, -4, 4]}, "frame_shape.1"),
    "a fractional shape": ({"frame_shape": [1, 4.0, 4]}, "frame_shape.1"),
    "a huge shape": ({"frame_shape": [1, 10**12, 4]}, "frame_shape.1"),
    "a large shape": ({"frame_shape": [64, 8192, 8192]}, "frame_shape .* is more than"),
    "no settings": ({"settings": []}, "settings"),
    "a setting of text": ({"settings": {"couplings": "2"}}, "settings: couplings: .*integer"),
    "an unknown setting": ({"settings": {"coupling": 2}}, "coupling is not a setting"),
    "too many couplings": ({"settings": {"couplings": 10**9}}, "couplings must be at most 100"),
    "too many blocks": ({"settings": {"blocks": 10**9}}, "blocks must be at most 12"),
    "too many squeezes": ({"settings": {"first_squeezes": 10**9}}, "first_squeezes must be at most 12"),
    "too large a state": ({"settings": {"dynamics": "dense", "state_dimension": 2**40}}, "state_dimension must be"),
    "a digit string of an integer": ({"settings": {"couplings": 10**4000}}, "couplings"),
    "other weights": (
        {"settings": {"dynamics": "dense", "blocks": 1, "first_squeezes": 1, "state_dimension": 4096}},
        "another shape",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_config_is_refused_in_one_line_that_names_the_file(folder: Path, case: str) -> None:
    changes, message = FORGED[case]
    sign(folder, **changes)
    with pytest.raises(InputError, match=message) as refused:
        load_checkpoint(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' * 100_000, "not valid JSON"),
        ('{"model": "ile", "model": "lds"}', "model appears twice in it"),
        ('{"model": NaN}', "NaN is not a number"),
        ('{"model": "' + "a" * 2**20 + '"}', "has more than"),
        (b"\xff\xfe\x00", "not valid JSON"),
        ("[]", "must name model"),
        ("", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_config_is_named(folder: Path, content: str | bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for load in (load_config, load_checkpoint):
        with pytest.raises(InputError, match=rf"config\.json .*{message}"):
            load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_never_read(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(InputError, match=rf"{name} is (not a regular file|missing)"):
        load_checkpoint(folder)


def test_a_file_of_weights_that_is_much_too_long_is_not_even_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2**40)  # takes no room on the disk; its digest would take an hour
    with pytest.raises(InputError, match="holds more than the model"):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["prior.theta_beta"][0] = value
    save_file(weights, folder / "model.safetensors")
    sign(folder)
    with pytest.raises(InputError, match=r"model\.safetensors holds values of prior\.theta_beta that are not finite"):
        load_checkpoint(folder)


def test_weights_of_other_types_or_names_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for changed in (
        {**weights, "prior.observation": weights["prior.observation"].half()},
        {**weights, "other": torch.zeros(1)},
        {name: value for name, value in weights.items() if name != "prior.observation"},
    ):
        save_file(changed, folder / "model.safetensors")
        sign(folder)
        with pytest.raises(
            InputError, match=r"another shape than config\.json describes: (prior\.observation|other) is"
        ):
            load_checkpoint(folder)


def test_reading_leaves_the_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    load_checkpoint(folder)
    assert torch.equal(torch.rand(1), expected)
