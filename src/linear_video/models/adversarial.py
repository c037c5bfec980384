"""Multi-scale prediction with an adversarial loss (Mathieu, Couprie, LeCun 2016, arXiv 1511.05440).

A pyramid of generators predicts the next frame from the last few, from an eighth of the size up to the full size. Each
one adds to the result of the coarser one; u enlarges:

    Y_k = u(Y_{k-1}) + G_k(X_k, u(Y_{k-1}))

At every scale a discriminator tells true frames from predicted ones. It sees the input frames, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_video.common.checks import check_choice, check_least, check_literals, check_most, check_within
from linear_video.common.errors import InputError
from linear_video.models.base import FrameShape, TrainedBySteps


class Scale(NamedTuple):
    """The networks at one scale, as in table 1 of the paper, or the authors' smaller ones."""

    maps: tuple[int, ...]  # hidden channels of the generator
    kernels: tuple[int, ...]  # of its convolutions, padded
    judging_maps: tuple[int, ...]  # channels of the discriminator
    judging_kernels: tuple[int, ...]  # of its convolutions, which are not padded, and never larger than their input
    judging_units: tuple[int, ...]  # of its fully connected layers


SIZES = {  # from the coarsest scale to the finest
    "paper": (
        Scale((128, 256, 128), (3, 3, 3, 3), (64,), (3,), (512, 256)),
        Scale((128, 256, 128), (5, 3, 3, 5), (64, 128, 128), (3, 3, 3), (1024, 512)),
        Scale((128, 256, 512, 256, 128), (5, 3, 3, 3, 3, 5), (128, 256, 256), (5, 5, 5), (1024, 512)),
        Scale((128, 256, 512, 256, 128), (7, 5, 5, 5, 5, 7), (128, 256, 512, 128), (7, 7, 5, 5), (1024, 512)),
    ),
    "small": (
        Scale((16, 32, 16), (3, 3, 3, 3), (32,), (3,), (256, 128)),
        Scale((16, 32, 16), (5, 3, 3, 5), (32, 32, 64), (3, 3, 3), (256, 128)),
        Scale((16, 32, 64, 32, 16), (5, 3, 3, 3, 3, 5), (32, 64, 64), (5, 5, 5), (256, 128)),
        Scale((16, 32, 64, 32, 16), (7, 5, 5, 5, 5, 7), (32, 64, 128, 128), (7, 7, 5, 5), (256, 128)),
    ),
}


@dataclass(frozen=True)
class AdversarialSettings:
    """Settings of the adversarial multi-scale network.

    Attributes:
        input_frames: frames from which the next one is predicted.
        size: ``"paper"``, or ``"small"``, close to the authors' training script.
        lp_weight: weight of the L_p loss.
        lp_power: p, 1 or 2.
        gradient_difference_weight: weight of the gradient difference loss; 0 leaves it out.
        gradient_difference_power: alpha, at least 1.
        adversarial_weight: weight of the adversarial loss at every scale; 0 leaves out the discriminators.
    """

    input_frames: int = 4
    size: Literal["paper", "small"] = "small"
    lp_weight: float = 1.0
    lp_power: int = 2
    gradient_difference_weight: float = 1.0
    gradient_difference_power: float = 1.0
    adversarial_weight: float = 0.05

    def __post_init__(self) -> None:
        check_least(self, 1, "input_frames")
        check_most(self, 1000, "input_frames")
        check_literals(self)
        check_choice(self, (1, 2), "lp_power")
        check_within(self, "[0, inf)", "lp_weight", "gradient_difference_weight", "adversarial_weight")
        check_within(self, "[1, inf)", "gradient_difference_power")
        if not self.lp_weight and not self.gradient_difference_weight:
            raise ValueError("lp_weight and gradient_difference_weight must not both be 0.")


class Adversarial(TrainedBySteps):
    """Predicts frames (C, H, W), float in [0, 1], one by one, each from the ``input_frames`` before it.

    Args:
        frame_shape: (C, H, W); H and W at least 8.
        settings: see ``AdversarialSettings``.
    """

    settings_class = AdversarialSettings
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 7000,  # as many as for the ILE; every second step trains the discriminators
        "clips_per_step": 4,  # of 15 frames: 11 windows each
        "learning_rate": 1e-3,
        "learning_rates": {"discriminators": 2e-4},
        "gradient_norm": 10.0,
        "validate_every": 500,
        "threads": 1,
    }
    skips_parameters: ClassVar[bool] = True  # those of the networks whose turn it is not
    steps_seen: Tensor

    def __init__(self, frame_shape: FrameShape, settings: AdversarialSettings) -> None:
        super().__init__(frame_shape, settings)
        scales = SIZES[settings.size]
        channels, height, width = frame_shape
        least = 2 ** (len(scales) - 1)
        if min(height, width) < least:
            raise ValueError(f"frames must be at least {least} pixels wide and high, not {frame_shape}.")
        self.sizes = [(height >> k, width >> k) for k in reversed(range(len(scales)))]
        seen = channels * (settings.input_frames + 1)  # the input, and a frame that is enlarged or judged
        self.generators = nn.ModuleList(
            _generator(seen if k else seen - channels, channels, scale) for k, scale in enumerate(scales)
        )
        self.discriminators = nn.ModuleList()
        if settings.adversarial_weight:
            self.discriminators.extend(
                _discriminator(seen, size, scale) for size, scale in zip(self.sizes, scales, strict=True)
            )
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.float64))

    @classmethod
    def training_for(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Training settings that suit model settings: no rate for discriminators where there are none."""
        if isinstance(model, Mapping) and model.get("adversarial_weight") == 0:
            return {name: value for name, value in cls.training_defaults.items() if name != "learning_rates"}
        return cls.training_defaults

    @classmethod
    def check_clips(cls, settings: AdversarialSettings, frames: int) -> None:
        """Check that clips are longer than ``input_frames``."""
        seen = settings.input_frames
        if frames <= seen:
            raise ValueError(f"clips of {frames} frames leave none to predict after input_frames {seen}.")

    @property
    def least_context(self) -> int:
        """The number of frames from which the next one is predicted."""
        return int(self.settings.input_frames)

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """Frames (N, K, H, W) of [-1, 1] at every scale, the coarsest first."""
        return [F.adaptive_avg_pool2d(frames, size) for size in self.sizes]

    def generate(self, inputs: list[Tensor]) -> list[Tensor]:
        """The next frame (N, C, h, w) at every scale, in about [-1, 1], from input frames (N, K C, h, w) at each."""
        # Only the coarsest generator ends in tanh. When finer ones did, they saturated in the first steps, while the
        # coarser ones still changed, and never learned.
        coarsest, *finer = self.generators
        shown: list[Tensor] = [coarsest(inputs[0]).tanh()]
        for generator, seen in zip(finer, inputs[1:], strict=True):
            enlarged = F.interpolate(shown[-1], size=seen.shape[-2:], mode="bilinear", align_corners=False)
            shown.append(enlarged + generator(torch.cat((seen, enlarged), dim=1)))
        return shown

    def judge(self, inputs: list[Tensor], frames: list[Tensor]) -> list[Tensor]:
        """Log-odds (N,) at every scale that the frames are true."""
        return [
            discriminator(torch.cat(pair, dim=1)).squeeze(1)
            for discriminator, *pair in zip(self.discriminators, inputs, frames, strict=True)
        ]

    # --- the contract of every model -------------------------------------------------------------------------------

    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """In training, the discriminators' loss and the generators' loss in turn; otherwise the loss of the prediction.

        Losses are means over all windows of clips (N, T, C, H, W) and over values in [-1, 1], and sums over scales.
        Nothing is random. (With the paper's sums over values, the weight of the adversary would depend on the frame's
        size.) The gradient of each step reaches only the networks whose turn it is.
        """
        inputs, truth = self._windows(clips)
        if not self.training:
            return self._prediction_loss(self.generate(inputs), truth)
        self.steps_seen += 1
        if len(self.discriminators) and int(self.steps_seen) % 2:
            return self._discriminator_loss(inputs, truth)
        return self._generator_loss(inputs, truth)

    def _windows(self, clips: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All windows of input frames, and the frame after each, at every scale."""
        length, count = self.settings.input_frames, clips.shape[1] - self.settings.input_frames
        if count < 1:
            raise InputError(f"clips have {clips.shape[1]} frames, but input_frames {length} and one more are needed.")
        frames = 2 * clips - 1
        inputs = torch.stack([frames[:, t : t + length].flatten(1, 2) for t in range(count)], dim=1).flatten(0, 1)
        return self.pyramid(inputs), self.pyramid(frames[:, length:].flatten(0, 1))

    def _prediction_loss(self, shown: list[Tensor], truth: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """L_p and gradient difference loss (equations 3 and 6)."""
        settings = self.settings
        pairs = list(zip(shown, truth, strict=True))
        power, alpha = settings.lp_power, settings.gradient_difference_power
        parts = {"lp": sum_of([(y - s).abs().pow(power).mean() for s, y in pairs])}
        if settings.gradient_difference_weight:
            differences = [
                (y.diff(dim=axis).abs() - s.diff(dim=axis).abs()).abs().pow(alpha).sum() / y.numel()
                for s, y in pairs
                for axis in (-2, -1)
            ]
            parts["gradient_difference"] = sum_of(differences)
        weights = {"lp": settings.lp_weight, "gradient_difference": settings.gradient_difference_weight}
        return sum_of([weights[name] * value for name, value in parts.items()]), parts

    def _discriminator_loss(self, inputs: list[Tensor], truth: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Binary cross-entropy at every scale (equation 4), of true and of predicted frames."""
        with torch.no_grad():
            shown = self.generate(inputs)
        real, fake = self.judge(inputs, truth), self.judge(inputs, shown)
        loss = sum_of([F.softplus(-r).mean() + F.softplus(f).mean() for r, f in zip(real, fake, strict=True)])
        return loss, {
            "discriminator": loss,
            "accuracy_true": torch.stack([(r > 0).float().mean() for r in real]).mean(),
            "accuracy_predicted": torch.stack([(f < 0).float().mean() for f in fake]).mean(),
        }

    def _generator_loss(self, inputs: list[Tensor], truth: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """All weighted terms; ``adversarial_share`` is the adversarial term's share of the gradient at the frames."""
        shown = self.generate(inputs)
        if not len(self.discriminators):
            return self._prediction_loss(shown, truth)
        # The gradient at the frames, term by term; none of it reaches the discriminators' weights.
        frames = [s.detach().requires_grad_() for s in shown]
        objective, parts = self._prediction_loss(frames, truth)
        parts["adversarial"] = sum_of([F.softplus(-odds).mean() for odds in self.judge(inputs, frames)])
        weighted = self.settings.adversarial_weight * parts["adversarial"]
        predicting, fooling = torch.autograd.grad(objective, frames), torch.autograd.grad(weighted, frames)
        norms = [sum_of([g.square().sum() for g in gradients]).sqrt() for gradients in (predicting, fooling)]
        parts["adversarial_share"] = norms[1] / (norms[0] + norms[1])
        through = sum_of([(s * (p + f)).sum() for s, p, f in zip(shown, predicting, fooling, strict=True)])
        return (objective + weighted).detach() + (through - through.detach()), parts

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """Frames after the context (N, T, C, H, W), later ones from predicted frames: (N, horizon, C, H, W).

        Raises:
            InputError: if the context is shorter than ``input_frames``.
        """
        length = self.settings.input_frames
        seen = list((2 * self.newest(context) - 1).unbind(dim=1))
        for _ in range(horizon):
            shown = self.generate(self.pyramid(torch.cat(seen[-length:], dim=1)))[-1]
            seen.append(shown.clamp(-1, 1))
        return (torch.stack(seen[length:], dim=1) + 1) / 2


def sum_of(values: list[Tensor]) -> Tensor:
    """Sum of scalars."""
    return torch.stack(values).sum()


def _generator(inputs: int, channels: int, scale: Scale) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = (inputs, *scale.maps, channels)
    for before, after, kernel in zip(widths, widths[1:], scale.kernels, strict=False):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _discriminator(inputs: int, size: tuple[int, int], scale: Scale) -> nn.Sequential:
    layers: list[nn.Module] = []
    left, before = size, inputs
    for after, kernel in zip(scale.judging_maps, scale.judging_kernels, strict=True):
        high, wide = min(kernel, left[0]), min(kernel, left[1])
        left = (left[0] - high + 1, left[1] - wide + 1)
        layers += [nn.Conv2d(before, after, (high, wide)), nn.ReLU()]
        before = after
    layers.append(nn.Flatten())
    before *= left[0] * left[1]
    for after in scale.judging_units:
        layers += [nn.Linear(before, after), nn.ReLU()]
        before = after
    return nn.Sequential(*layers, nn.Linear(before, 1))
