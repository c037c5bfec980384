"""Models that take frames of any size are the same model at every size."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from linear_video.models.base import TakesAnySize
from linear_video.models.ile import motion as module
from linear_video.models.ile.motion import FieldNetwork
from linear_video.models.registry import build

SETTINGS: dict[str, Any] = {
    "dynamics": "warp",
    "look_back": 2,
    "reach": 3,
    "motion_channels": 4,
    "blocks": 2,
    "first_squeezes": 1,
    "couplings": 2,
    "hidden_channels": 4,
}
INNER = (..., slice(8, -8), slice(8, -8))


def make(height: int = 32, width: int = 32, channels: int = 3, **changes: Any) -> Any:
    """A model with random parameters."""
    torch.manual_seed(0)
    model: Any = build("ile", (channels, height, width), {**SETTINGS, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def clips(height: int, width: int, frames: int = 5, channels: int = 3, count: int = 2) -> Tensor:
    """Smooth pictures that move to the right by two pixels a frame."""
    noise = np.random.default_rng(0).normal(size=(count, channels, height, width + 2 * frames))
    smooth = gaussian_filter(noise, (0, 0, 2.5, 2.5), mode="wrap")
    values = np.clip(0.5 + 0.2 * smooth / smooth.std(), 0, 1)
    moved = [values[..., 2 * (frames - t) : 2 * (frames - t) + width] for t in range(frames)]
    return torch.from_numpy(np.stack(moved, 1)).float()


def test_warp_dynamics_the_last_frame_and_optical_flow_take_any_size() -> None:
    assert make().offers(TakesAnySize)
    for dynamics in ("modal", "dense"):
        other = build("ile", (3, 32, 32), {**SETTINGS, "dynamics": dynamics, "state_dimension": 8})
        assert not other.offers(TakesAnySize)
    for name in ("last_frame", "optical_flow"):
        assert build(name, (3, 32, 32), {}).offers(TakesAnySize)
    assert not build("lds", (3, 32, 32), {}).offers(TakesAnySize)


@pytest.mark.parametrize("field_start", ["still", "optical_flow"])
def test_a_model_in_its_own_size_is_the_same(field_start: str) -> None:
    model = make(field_start=field_start)
    same, seen = model.sized(32, 32), clips(32, 32)
    torch.testing.assert_close(same.predict(seen, 4), model.predict(seen, 4))
    torch.testing.assert_close(same.log_likelihood(seen), model.log_likelihood(seen))
    assert not same.training


def test_other_sizes_have_copies_of_the_weights() -> None:
    model = make()
    other = model.sized(48, 64)
    assert other.frame_shape == (3, 48, 64)
    assert other.settings == model.settings
    for (name, one), (same, two) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == same
        torch.testing.assert_close(one, two)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    assert not torch.equal(next(other.parameters()), next(model.parameters()))
    back = model.sized(48, 64).sized(32, 32)
    torch.testing.assert_close(back.predict(clips(32, 32), 2), model.predict(clips(32, 32), 2))


@pytest.mark.parametrize("size", [(48, 64), (16, 40), (8, 128)])
def test_frames_of_another_size_are_forecast_and_have_a_density(size: tuple[int, int]) -> None:
    model = make().sized(*size)
    seen = clips(*size)
    with torch.no_grad():
        assert model.predict(seen, 4).shape == (2, 4, 3, *size)
        density = model.log_likelihood(seen)
        assert torch.isfinite(density).all()
        observed = torch.tensor([True, True, False, True, True])
        weights, correction = model.interpolate(model.project(seen), observed, 2.0)
        assert correction.shape == (2, 3, *size)
        assert torch.isfinite(weights).all()


def test_the_step_is_what_the_flow_can_halve() -> None:
    for blocks, squeezes in ((1, 1), (2, 1), (2, 3)):
        model = make(blocks=blocks, first_squeezes=squeezes)
        step = model.size_step
        assert step == 2 ** (squeezes + blocks - 1)
        wide = model.sized(32, 32 + step)
        assert torch.isfinite(wide.log_likelihood(clips(32, 32 + step))).all()


def test_the_middle_of_a_large_frame_is_forecast_as_alone() -> None:
    """Pixels beyond the reach of the networks do not matter: a crop has the same forecast, except at its border."""
    model = make(96, 96, motion_channels=4)
    seen = clips(96, 96, count=1)
    whole = model.predict(seen, 1)
    wider = torch.nn.functional.pad(seen.flatten(0, 1), (32, 32, 32, 32), mode="reflect").unflatten(0, (1, -1))
    there = model.sized(160, 160).predict(wider, 1)[..., 32:-32, 32:-32]
    middle = (..., slice(40, -40), slice(40, -40))
    torch.testing.assert_close(there[middle], whole[middle], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 2), (3, 1)])
def test_likelihood_grows_with_the_area_of_what_repeats(rows: int, columns: int) -> None:
    """Flat frames look the same everywhere except at the border, so each tile counts equally."""
    seen = torch.full((1, 4, 3, 32, 32), 0.4)
    model = make()
    with torch.no_grad():
        one = model.log_likelihood(seen) / seen[0].numel()
        tiled = seen.repeat(1, 1, 1, rows, columns)
        many = model.sized(32 * rows, 32 * columns).log_likelihood(tiled) / tiled[0].numel()
    torch.testing.assert_close(many, one, rtol=0.05, atol=0.05)


def test_the_first_guess_of_a_frame_is_of_no_place() -> None:
    """Mean and variances are those of a channel, all over the frame."""
    model = make()
    frames = clips(32, 32)
    model.prior.begin(frames, 0.01)
    for parameter in (model.prior.mean, model.prior.log_initial, model.prior.log_variance):
        assert parameter.shape == (3, 1, 1)
    torch.testing.assert_close(model.prior.mean.flatten(), frames.mean((0, 1, 3, 4)))
    variance = frames.var((0, 1, 3, 4)) + 0.01**2
    torch.testing.assert_close(model.prior.log_initial.flatten().exp(), variance, rtol=1e-2, atol=0)


# --- the field of large frames ----------------------------------------------------------------------------------------


def field(start: str = "still", scale: float = 1.0) -> FieldNetwork:
    torch.manual_seed(0)
    network = FieldNetwork((1, 32, 32), 2, 3, 0, channels=4, start=start)
    with torch.no_grad():
        network.last.weight.mul_(10)
        assert network.last.bias is not None
        network.last.bias.fill_(scale)
    return network.eval()


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (128, 64)])
def test_the_field_of_large_frames_is_that_of_smaller_ones_enlarged(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """In pixels, which are smaller, there are more of them to each displacement."""
    network = field()
    monkeypatch.setattr(module, "FIELD_SIDE", 32)
    small = torch.nn.functional.interpolate(
        clips(*size, channels=1).flatten(0, 1), scale_factor=32 / min(size), mode="area"
    )[None]
    large = torch.nn.functional.interpolate(small[0], size=size, mode="nearest")[None]
    with torch.no_grad():
        one, many = network(small)[0, 2], network(large)[0, 2]
    assert many.shape == (3, 3, *size)
    factor = min(size) / 32
    one = torch.nn.functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(many[:, :2], factor * one[:, :2], atol=0.2 * factor, rtol=0.1)
    torch.testing.assert_close(many[:, 2:], one[:, 2:], atol=0.05, rtol=0.1)


def test_large_frames_move_as_far_as_the_field_says_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing made smaller, the network would say as many pixels of any frame."""
    network = field()
    seen = clips(64, 96, channels=1)
    with torch.no_grad():
        plain = network(seen)
        monkeypatch.setattr(module, "FIELD_SIDE", 32)
        found = network(seen)
        monkeypatch.setattr(module, "FIELD_SIDE", 64)
        torch.testing.assert_close(network(seen), plain)
    ratio = found[:, :, :, :2].abs().mean() / plain[:, :, :, :2].abs().mean()
    assert ratio == pytest.approx(2, rel=0.3)


def test_optical_flow_of_large_frames_is_that_of_all_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that corrects nothing leaves the flow as it is, whatever the size."""
    network = field("optical_flow")
    with torch.no_grad():
        for parameter in network.last.parameters():
            parameter.zero_()
    seen = clips(64, 96, channels=1)
    with torch.no_grad():
        plain = network(seen)[:, :, :, :2]
        monkeypatch.setattr(module, "FIELD_SIDE", 32)
        torch.testing.assert_close(network(seen)[:, :, :, :2], plain)
    moves = plain[:, -1, :, 0][INNER].mean((0, 2, 3))
    np.testing.assert_allclose(moves, [-2, -4, -6], rtol=0.15)


@pytest.mark.parametrize("size", [(40, 56), (34, 50), (33 * 2, 70), (300, 36)])
def test_fields_fit_frames_of_odd_sizes(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(module, "FIELD_SIDE", 32)
    for start in ("still", "optical_flow"):
        with torch.no_grad():
            found = field(start)(clips(*size, frames=3, channels=1))
        assert found.shape == (2, 3, 3, 3, *size)
        assert torch.isfinite(found).all()


def test_actions_reach_the_field_of_large_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIELD_SIDE", 32)
    torch.manual_seed(0)
    network = FieldNetwork((1, 32, 32), 2, 3, 2, channels=4, start="still")
    seen, actions = clips(64, 64, channels=1), torch.randn(2, 8, 2)
    with torch.no_grad():
        assert not torch.allclose(network(seen, actions), network(seen))
