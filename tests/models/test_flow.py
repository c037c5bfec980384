from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from linear_video.models.ile.flow import SCALE_MAXIMUM, SCALE_MINIMUM, AffineCoupling, Flow, Squeeze
from tests.models.invertible import check_invertible, randomise


def frames(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("mix", ["haar", "none"])
def test_squeeze_is_invertible(mix: Literal["haar", "none"]) -> None:
    check_invertible(Squeeze(mix), frames(2, 3, 4, 6))


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("middle_kernel", [1, 3])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_coupling_is_invertible_with_random_weights(channels: int, middle_kernel: int, swap: bool) -> None:
    coupling = randomise(AffineCoupling(channels, 6, middle_kernel, swap))
    check_invertible(coupling, frames(2, channels, 3, 2))


@pytest.mark.parametrize(
    ("shape", "blocks", "first_squeezes", "mix"),
    [((1, 8, 8), 3, 1, "haar"), ((3, 4, 4), 2, 1, "none"), ((1, 8, 4), 1, 2, "haar"), ((2, 4, 8), 2, 1, "haar")],
)
def test_flow_is_invertible_with_random_weights(
    shape: tuple[int, int, int], blocks: int, first_squeezes: int, mix: Literal["haar", "none"]
) -> None:
    flow = randomise(Flow(shape, blocks, 2, 5, 1, mix, first_squeezes))
    check_invertible(flow, frames(2, *shape))


def test_flow_starts_as_a_volume_preserving_map() -> None:
    inputs = frames(3, 1, 8, 8).float()
    embeddings, log_abs_det = Flow((1, 8, 8), 3, 2, 8)(inputs)
    torch.testing.assert_close(log_abs_det, torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(embeddings.square().sum(1), inputs.square().sum((1, 2, 3)))


def test_haar_gathers_means_before_details() -> None:
    squeezed, _ = Squeeze("haar")(torch.full((1, 2, 4, 4), 3.0))
    torch.testing.assert_close(squeezed[:, :2], torch.full((1, 2, 2, 2), 6.0))
    torch.testing.assert_close(squeezed[:, 2:], torch.zeros(1, 6, 2, 2))


def test_scale_stays_within_its_bounds() -> None:
    coupling: Any = AffineCoupling(2, 4)
    with torch.no_grad():
        coupling.network[-1].bias.copy_(torch.tensor([1e4, 0.0]))
    assert coupling.scale_and_shift(torch.ones(1, 1, 2, 2))[0].max() <= SCALE_MAXIMUM
    with torch.no_grad():
        coupling.network[-1].bias.copy_(torch.tensor([-1e4, 0.0]))
    scale, _ = coupling.scale_and_shift(torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(scale, torch.full_like(scale, SCALE_MINIMUM))


@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 20), (6, 6)])
def test_sizes_that_do_not_fit_are_refused_with_sizes_that_do(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8.*8, 16, 24"):
        Flow((1, height, width), blocks=3, couplings=1, hidden_channels=2)


def test_frames_of_another_shape_or_rank_are_refused() -> None:
    flow = Flow((1, 8, 8), 1, 1, 2)
    with pytest.raises(ValueError, match="N, C, H, W"):
        flow(torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match="1, 8, 8"):
        flow(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="64"):
        flow.inverse(torch.zeros(2, 63))
