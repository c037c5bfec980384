import logging

import pytest
import torch
from torch import Tensor

from linear_video.models.ile import recompute
from linear_video.models.ile.flow import Flow

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _frames_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "LEAST_VALUES", 64)


def make(memory: recompute.Memory, dtype: torch.dtype = torch.float32, seed: int = 0) -> Flow:
    """A flow as at the start of a training, except for random last layers, so that the couplings do something."""
    torch.manual_seed(seed)
    flow = Flow(SHAPE, blocks=2, couplings=4, hidden_channels=6, memory=memory)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "network.4" in name:
                parameter.normal_(std=0.2)
    return flow.to(dtype)


def gradients(flow: Flow, seed: int = 1, device_type: str | None = None) -> tuple[Tensor, Tensor]:
    """Gradients of encoding and decoding, with respect to weights and frames."""
    dtype = next(flow.parameters()).dtype
    frames = torch.randn(9, *SHAPE, generator=torch.Generator().manual_seed(seed)).to(dtype)
    frames.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=device_type == "bf16"):
        embeddings, log_abs_det = flow(frames)
        decoded, log_abs_det_back = flow.inverse(0.9 * embeddings)
    loss = embeddings.square().sum() - 3 * log_abs_det.sum() + decoded.sin().sum() + log_abs_det_back.square().sum()
    found = torch.autograd.grad(loss, (frames, *flow.parameters()))
    return torch.cat([gradient.flatten().double() for gradient in found]), loss.detach()


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_modes_change_nothing_in_float64(memory: recompute.Memory) -> None:
    expected, loss = gradients(make("none", torch.float64))
    found, same_loss = gradients(make(memory, torch.float64))
    assert torch.equal(loss, same_loss)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_gradients_round_like_those_of_plain_autograd() -> None:
    """Within 10 times plain's own error against float64, the median of several weights and frames."""
    errors: dict[recompute.Memory, list[Tensor]] = {"none": [], "checkpoint": [], "reversible": []}
    for seed in range(5):
        exact, _ = gradients(make("none", torch.float64, seed), seed)
        for mode, found in errors.items():
            rounded, _ = gradients(make(mode, torch.float32, seed), seed)
            found.append((rounded - exact).norm() / exact.norm())
    plain, checkpoint, reversible = (torch.stack(found).median() for found in errors.values())
    assert 0 < plain < 1e-4
    assert checkpoint < 10 * plain
    assert reversible < 10 * plain


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_networks_in_bf16_give_the_same_gradients(memory: recompute.Memory) -> None:
    """Autocast holds in the recomputation, too; the log-determinants and couplings themselves stay in float32."""
    single, _ = gradients(make("none"))
    plain, _ = gradients(make("none"), device_type="bf16")
    found, _ = gradients(make(memory), device_type="bf16")
    bf16_error = (plain - single).norm()
    assert bf16_error > 1e-3 * single.norm()  # autocast does something
    assert (found - plain).norm() < bf16_error


def kept_values(flow: Flow) -> int:
    """How many values the encoding of four frames keeps for the gradient."""
    sizes: list[int] = []

    def note(kept: Tensor) -> Tensor:
        sizes.append(kept.numel())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        flow(torch.randn(4, *SHAPE))
    return sum(sizes)


def test_a_reversible_chain_keeps_one_map_whatever_its_length() -> None:
    short, long = (kept_values(Flow(SHAPE, 1, couplings, 6, memory="reversible")) for couplings in (2, 8))
    assert short == long


def test_checkpoints_keep_inputs_alone() -> None:
    assert kept_values(Flow(SHAPE, 1, 5, 64, memory="checkpoint")) == 5 * 4 * 64


def test_a_second_backward_pass_is_refused_with_what_to_do() -> None:
    flow = make("reversible")
    loss = flow(torch.randn(2, *SHAPE))[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"one backward pass.*'checkpoint'"):
        loss.backward()


def test_frozen_weights_get_no_gradient() -> None:
    flow = make("reversible")
    frozen = next(flow.parameters()).requires_grad_(False)
    flow(torch.randn(2, *SHAPE))[0].sum().backward()
    assert frozen.grad is None
    assert all(parameter.grad is not None for parameter in list(flow.parameters())[1:])


def test_inversion_that_spoils_gradients_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    flow = Flow(SHAPE, blocks=1, couplings=24, hidden_channels=6, memory="reversible")
    with caplog.at_level(logging.WARNING):
        flow(torch.randn(2, *SHAPE))[0].sum().backward()
        flow.check_numerics()
    assert flow.inversion_error < 1e-12
    assert not caplog.records
    with torch.no_grad():  # scales at their minimum shrink what has to be found again below float64's resolution
        for name, parameter in flow.named_parameters():
            if name.endswith("network.4.bias"):
                half = len(parameter) // 2
                parameter[:half], parameter[half:] = -30.0, 30.0
    flow(torch.randn(2, *SHAPE))[0].sum().backward()
    for _ in range(2):
        flow.check_numerics()
    assert len(caplog.records) == 1
    assert "Set memory to checkpoint" in caplog.text
