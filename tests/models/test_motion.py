"""The networks that find the motion: their inputs, and how they learn."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from linear_video.models.ile.model import InvertibleLinearEmbedding
from linear_video.models.ile.motion import (
    FieldNetwork,
    MotionNetwork,
    TurningNetwork,
    actions_around,
    coarse_error,
    last_frames,
)
from linear_video.models.ile.settings import IleSettings
from linear_video.models.registry import build


def test_each_frame_is_seen_with_those_before_it_and_the_first_stands_for_what_was_before() -> None:
    frames = torch.arange(5.0).reshape(1, 5, 1, 1, 1)
    assert last_frames(frames, 3).flatten(2)[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_actions_around_a_frame_are_those_up_to_it_and_after_it() -> None:
    actions = torch.arange(1.0, 6).reshape(1, 5, 1)
    found = actions_around(actions, frames=4, before=2, after=2, values=1)
    assert found is not None
    assert found[0].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 0]]
    assert actions_around(actions, 4, 2, 2, values=0) is None


NETWORKS = {
    "turning": lambda actions: TurningNetwork((2, 8, 12), 3, 4, actions, velocities=2, channels=4),
    "field": lambda actions: FieldNetwork((2, 8, 12), 3, 4, actions, channels=4, start="still"),
    "flowing field": lambda actions: FieldNetwork((2, 8, 12), 3, 4, actions, channels=4, start="optical_flow"),
}
SHAPES = {"turning": (6,), "field": (4, 8, 12), "flowing field": (4, 8, 12)}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("actions", [0, 2])
def test_motion_depends_on_the_past_alone(name: str, actions: int) -> None:
    torch.manual_seed(0)
    network: MotionNetwork = NETWORKS[name](actions)
    frames = torch.rand(2, 6, 2, 8, 12)
    known = torch.rand(2, 10, actions) if actions else None
    motion = network(frames, known)
    assert motion.shape == (2, 6, 4, *SHAPES[name])
    changed = frames.clone()
    changed[:, 4:] = 0
    torch.testing.assert_close(network(changed, known)[:, :4], motion[:, :4])
    assert not torch.allclose(network(changed, known)[:, 4], motion[:, 4])
    if actions:  # none are as good as zeros, and others are not
        none, zeros = network(frames), network(frames, torch.zeros(2, 10, actions))
        torch.testing.assert_close(none, zeros)
        assert not torch.allclose(none, motion)


@pytest.mark.parametrize("look_back", [1, 3])
def test_a_field_may_start_as_optical_flow(look_back: int) -> None:
    """Then the last frame moves as the reference moves it, which OpenCV interpolates; one frame tells nothing."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    spots = [torch.exp(-((x - 10 - 1.5 * t) ** 2 + (y - 20 + t) ** 2) / 18) for t in range(4)]
    clip = torch.stack(spots)[None, :, None].expand(-1, -1, 3, -1, -1).contiguous()  # (1, 4, 3, 32, 32)
    settings = IleSettings(
        dynamics="warp", field_start="optical_flow", look_back=look_back, reach=3, motion_channels=4, couplings=0
    )
    prior = InvertibleLinearEmbedding((3, 32, 32), settings).prior
    with torch.no_grad():
        prior.motion.last.weight.zero_()  # type: ignore[operator, union-attr]
        carried = prior.carried(clip[:, -1], prior.motion(clip)[:, -1])  # type: ignore[operator]
    expected = clip[:, -1:].expand(-1, 3, -1, -1, -1)
    if look_back > 1:
        expected = build("optical_flow", (3, 32, 32), {}).predict(clip, 3)
        assert (clip[:, -1:] - expected).abs().amax((0, 2, 3, 4)).min() > 0.1  # it moves
    torch.testing.assert_close(carried.clamp(0, 1), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("width", [1.0, 2.5])
def test_errors_are_seen_through_a_gaussian(width: float) -> None:
    """Against SciPy's, of pictures in the middle of black, where both see the edge alike."""
    picture = np.zeros((3, 32, 32))
    picture[:, 12:20, 13:19] = np.random.default_rng(0).random((3, 8, 6))
    moved, truth, before = (torch.from_numpy(p)[None, None, None] for p in picture)

    def energy(one: Tensor, other: Tensor) -> float:
        seen = gaussian_filter((one - other).numpy()[0, 0, 0], width, mode="wrap", truncate=8)
        return float(np.square(seen).mean()) + 1e-6

    expected = np.log(energy(moved, truth) / energy(before, truth) + 0.1)
    assert float(coarse_error(moved, truth, before, width, 0.1)) == pytest.approx(expected, rel=0.02)


def errors_of_motion(spots: int, steps: int, **settings: Any) -> tuple[float, float]:
    """Squared errors of the last frame, moved by the motion that was learned in steps of the first stage, and unmoved.

    On each clip, bright spots move in one of four directions each.
    """
    torch.manual_seed(0)
    given: dict[str, Any] = {"look_back": 2, "reach": 2, "motion_channels": 8, "couplings": 0}
    model = InvertibleLinearEmbedding((1, 16, 16), IleSettings(**given, **settings)).train()
    generator = np.random.default_rng(0)

    def clips(count: int) -> Tensor:
        made = np.zeros((count, 5, 1, 16, 16), np.float32)
        for clip, spot in np.ndindex(count, spots):
            right, down = [(1, 0), (-1, 0), (0, 1), (0, -1)][generator.integers(4)]
            row, column = generator.integers(5, 9, 2) + np.array([0, 8 * spot])
            for t in range(5):
                square = np.ix_(np.arange(row, row + 3) + t * down, (np.arange(column, column + 3) + t * right) % 16)
                made[clip, t, 0][square] = 1
        return torch.from_numpy(made)

    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        model.at_step(0.75 * step / steps)
        optimiser.zero_grad()
        model.loss(clips(16))[0].backward()
        optimiser.step()
    assert not any(p.grad.any() for p in model.flow.parameters() if p.grad is not None)
    seen = clips(50)
    model.eval().requires_grad_(False)
    carried = model.prior.carried(seen[:, 2], model.prior.motion(seen[:, :3])[:, -1])  # type: ignore[operator, union-attr]
    moved, still = (float((frames - seen[:, 3:]).square().mean()) for frames in (carried, seen[:, 2:3]))
    return moved, still


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", ["modal", "warp"])
def test_the_motion_of_a_spot_is_learned_from_frames_alone(dynamics: str) -> None:
    moved, still = errors_of_motion(1, 250, dynamics=dynamics)
    assert moved < 0.3 * still


@pytest.mark.slow
def test_two_velocities_follow_two_spots_better_than_one() -> None:
    one, two = (errors_of_motion(2, 500, velocities=count)[0] for count in (1, 2))
    assert two < 0.8 * one
