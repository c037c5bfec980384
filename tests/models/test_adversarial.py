"""The adversarial multi-scale network against the definitions of its paper."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_video.common.errors import InputError
from linear_video.models.adversarial import Adversarial, AdversarialSettings

SHAPE = (1, 16, 16)
SETTINGS = AdversarialSettings(
    input_frames=2,
    size="small",
    lp_weight=1.0,
    lp_power=2,
    gradient_difference_weight=0.5,
    gradient_difference_power=1.0,
    adversarial_weight=0.05,
)


def make(shape: tuple[int, int, int] = SHAPE, **changes: Any) -> Adversarial:
    torch.manual_seed(0)
    return Adversarial(shape, dataclasses.replace(SETTINGS, **changes))


def clips(n: int = 2, t: int = 4, shape: tuple[int, ...] = SHAPE, seed: int = 1) -> Tensor:
    return torch.rand(n, t, *shape, generator=torch.Generator().manual_seed(seed))


def generators_turn(model: Adversarial) -> Adversarial:
    model.steps_seen.fill_(1)
    return model.train()


def gradient(model: Adversarial, batch: Tensor) -> dict[str, Tensor | None]:
    model.zero_grad(set_to_none=True)
    model.loss(batch)[0].backward()
    return {name: p.grad for name, p in model.named_parameters()}


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("paper", (1, 16, 16)),
        *(("small", shape) for shape in [(1, 16, 16), (3, 32, 32), (1, 28, 28), (3, 24, 40), (1, 8, 8)]),
    ],
)
def test_every_scale_shows_and_judges_a_frame(shape: tuple[int, int, int], size: Any) -> None:
    model = make(shape, size=size)
    inputs = model.pyramid(torch.rand(3, 2 * shape[0], *shape[1:]))
    shown = model.generate(inputs)
    assert [tuple(s.shape[1:]) for s in shown] == [(shape[0], shape[1] // k, shape[2] // k) for k in (8, 4, 2, 1)]
    assert [odds.shape for odds in model.judge(inputs, shown)] == [(3,)] * 4


def test_the_paper_size_is_that_of_its_table() -> None:
    model: Any = make((3, 32, 32), size="paper", input_frames=4)
    convolutions = [
        [(c.out_channels, c.kernel_size[0]) for c in network if isinstance(c, torch.nn.Conv2d)]
        for networks in (model.generators, model.discriminators)
        for network in networks
    ]
    small = [(128, 3), (256, 3), (128, 3), (3, 3)]
    assert convolutions[0] == small
    assert convolutions[1] == [(128, 5), (256, 3), (128, 3), (3, 5)]
    assert convolutions[2] == [(128, 5), (256, 3), (512, 3), (256, 3), (128, 3), (3, 5)]
    assert convolutions[3] == [(128, 7), (256, 5), (512, 5), (256, 5), (128, 5), (3, 7)]
    assert convolutions[4] == [(64, 3)]
    assert convolutions[5] == [(64, 3), (128, 3), (128, 3)]
    assert convolutions[6] == [(128, 5), (256, 5), (256, 5)]
    assert convolutions[7] == [(128, 7), (256, 7), (512, 5), (128, 5)]
    units = [[c.out_features for c in network if isinstance(c, torch.nn.Linear)] for network in model.discriminators]
    assert units == [[512, 256, 1], [1024, 512, 1], [1024, 512, 1], [1024, 512, 1]]


def test_scales_add_to_what_the_coarser_one_has_shown() -> None:
    model: Any = make().eval()
    with torch.no_grad():
        for network in list(model.generators)[1:]:
            for parameter in network[-1].parameters():
                parameter.zero_()
        shown = model.generate(model.pyramid(torch.rand(2, 2, 16, 16)))
    for coarse, fine in itertools.pairwise(shown):
        expected = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(fine, expected)


def test_frames_smaller_than_the_pyramid_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 pixels"):
        make((1, 7, 16))


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("power", "alpha"), [(1, 1.0), (2, 1.0), (2, 2.0)])
def test_the_prediction_loss_is_that_of_the_paper(power: int, alpha: float) -> None:
    """Summed pixel by pixel in NumPy, over every window."""
    model = make(lp_power=power, gradient_difference_power=alpha).eval()
    batch = clips()
    objective, parts = model.loss(batch)
    lp = difference = 0.0
    for clip in batch:
        for t in range(2, 4):
            truth = model.pyramid(2 * clip[t][None] - 1)
            shown = model.generate(model.pyramid((2 * clip[t - 2 : t] - 1).flatten(0, 1)[None]))
            for y, s in zip(truth, shown, strict=True):
                true, seen = y[0, 0].numpy(), s[0, 0].detach().numpy()
                lp += (np.abs(true - seen) ** power).mean()
                for i, j in np.ndindex(true.shape):
                    for before in [(i - 1, j), (i, j - 1)]:
                        if min(before) >= 0:
                            steps = abs(true[i, j] - true[before]), abs(seen[i, j] - seen[before])
                            difference += abs(steps[0] - steps[1]) ** alpha / true.size
    assert parts["lp"].item() == pytest.approx(lp / 4, rel=1e-4)
    assert parts["gradient_difference"].item() == pytest.approx(difference / 4, rel=1e-4)
    assert objective.item() == pytest.approx((lp + 0.5 * difference) / 4, rel=1e-4)


def test_the_discriminators_turn_is_binary_cross_entropy_and_reaches_them_alone() -> None:
    model, batch = make().train(), clips()
    inputs, truth = model._windows(batch)
    with torch.no_grad():
        shown = model.generate(inputs)
        pairs = zip(model.judge(inputs, truth), model.judge(inputs, shown), strict=True)
        expected = sum(
            F.binary_cross_entropy_with_logits(odds, torch.full_like(odds, target))
            for pair in pairs
            for odds, target in zip(pair, (1.0, 0.0), strict=True)
        )
    objective, parts = model.loss(batch)
    assert objective.item() == pytest.approx(float(expected), rel=1e-5)
    assert parts["discriminator"].item() == pytest.approx(float(expected), rel=1e-5)
    objective.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("discriminators"), name


def test_the_generators_turn_has_the_gradient_of_all_terms_and_reaches_them_alone() -> None:
    """Against one plain backward pass through generators and discriminators."""
    model, batch = generators_turn(make(adversarial_weight=3.0)), clips()
    objective, parts = model.loss(batch)
    objective.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    inputs, truth = model._windows(batch)
    shown = model.generate(inputs)
    prediction, _ = model._prediction_loss(shown, truth)
    odds = torch.stack(model.judge(inputs, shown))
    fooling = F.binary_cross_entropy_with_logits(odds, torch.ones_like(odds)) * len(odds)  # means, one for each scale
    expected = prediction + 3.0 * fooling
    expected.backward()
    assert objective.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["adversarial"].item() == pytest.approx(fooling.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if name.startswith("generators"):
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)
        else:
            assert found[name] is None


def test_the_adversarial_gradient_reaches_the_generator_of_every_scale() -> None:
    """The reimplementation behind the table of the paper had no such gradient."""
    batch = clips()
    with_it, without = (gradient(generators_turn(make(adversarial_weight=weight)), batch) for weight in (1.0, 1e-12))
    for k in range(4):
        for name, value in with_it.items():
            if name.startswith(f"generators.{k}.") and name.endswith("weight"):
                other = without[name]
                assert value is not None
                assert other is not None
                assert (value - other).abs().max() > 1e-6, name


def test_training_with_an_adversary_differs_from_training_without() -> None:
    batch, trained = clips(), []
    for weight in (0.05, 1e-12):
        model = make(adversarial_weight=weight).train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(6):
            optimizer.zero_grad(set_to_none=True)
            model.loss(batch)[0].backward()
            optimizer.step()
        trained.append(model.generators.state_dict())
    assert any((value - trained[1][name]).abs().max() > 1e-5 for name, value in trained[0].items())


def test_the_share_of_the_adversarial_gradient_grows_with_its_weight() -> None:
    """If the share is what its name says, share / (1 - share) is proportional to the weight."""
    odds = []
    for weight in (1.0, 1e3, 1e6):
        share = generators_turn(make(adversarial_weight=weight)).loss(clips())[1]["adversarial_share"].item()
        odds.append(share / (1 - share) / weight)
    assert odds[0] > 0
    assert odds[1] == pytest.approx(odds[0], rel=1e-3)
    assert odds[2] == pytest.approx(odds[0], rel=1e-2)


def test_turns_alternate() -> None:
    model, batch = make().train(), clips()
    kinds = ["discriminator" in model.loss(batch)[1] for _ in range(4)]
    assert kinds == [True, False, True, False]


def test_without_an_adversary_every_turn_is_the_generators() -> None:
    model, batch = make(adversarial_weight=0.0).train(), clips()
    assert not len(model.discriminators)
    for _ in range(2):
        objective, parts = model.loss(batch)
        assert set(parts) == {"lp", "gradient_difference"}
    objective.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_every_default_rate_is_one_of_parameters_that_there_are(weight: float) -> None:
    names = [name for name, _ in make(adversarial_weight=weight).named_parameters()]
    rates = Adversarial.training_for({"adversarial_weight": weight}).get("learning_rates", {})
    assert ("discriminators" in rates) == (weight > 0)
    assert all(any(name.startswith(rate) for name in names) for rate in rates)


def test_without_the_gradient_difference_it_is_left_out() -> None:
    objective, parts = make(gradient_difference_weight=0.0).eval().loss(clips())
    assert set(parts) == {"lp"}
    assert objective.item() == parts["lp"].item()


# --- prediction ------------------------------------------------------------------------------------------------------


def test_later_frames_are_predicted_from_predicted_ones() -> None:
    model, context = make().eval(), clips(t=5)
    both = model.predict(context, 3)
    first = model.predict(context, 1)
    second = model.predict(torch.cat((context, first), dim=1), 2)
    torch.testing.assert_close(both, torch.cat((first, second), dim=1))
    assert both.min() >= 0
    assert both.max() <= 1


def test_only_the_input_frames_are_seen() -> None:
    model, context = make().eval(), clips(t=5)
    other = context.clone()
    other[:, :3] = 0.5
    torch.testing.assert_close(model.predict(context, 1), model.predict(other, 1))


def test_motion_is_learned_by_a_few_steps() -> None:
    """A bar that moves one pixel a frame: predicted better than by the last frame."""
    position = (torch.arange(5)[None] + torch.arange(4)[:, None])[:, :, None, None, None]  # (N, T, 1, 1, 1)
    columns = torch.arange(8).expand(1, 1, 1, 8, 8)
    batch = ((columns >= position) & (columns < position + 3)).float()
    model = make((1, 8, 8)).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch)[0].backward()
        optimizer.step()
    model.eval()
    error = (model.predict(batch[:, :4], 1)[:, 0] - batch[:, 4]).square().mean()
    still = (batch[:, 3] - batch[:, 4]).square().mean()
    assert error < 0.5 * still
    assert math.isfinite(error)


@pytest.mark.parametrize("call", ["loss", "predict"])
def test_too_few_frames_are_refused(call: str) -> None:
    model = make(input_frames=4).eval()
    with pytest.raises(InputError, match="frames"):
        model.loss(clips(t=4)) if call == "loss" else model.predict(clips(t=3), 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_frames", 0),
        ("size", "large"),
        ("lp_power", 3),
        ("gradient_difference_power", 0.5),
        ("adversarial_weight", -1.0),
        ("lp_weight", float("inf")),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(SETTINGS, **{name: value})


def test_a_loss_without_any_prediction_term_is_refused() -> None:
    with pytest.raises(ValueError, match="must not both be 0"):
        dataclasses.replace(SETTINGS, lp_weight=0.0, gradient_difference_weight=0.0)
