"""One flow, built from the pieces of each library: multi-scale, affine couplings with convolutions of 3, 1 and 3.

Each function returns a module whose call gives the log density of frames (N, C, H, W) in nats under a flow to standard
normal values: (N,).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linear_video.models.ile.flow import Flow
from linear_video.models.ile.recompute import Memory


@dataclass(frozen=True)
class Topology:
    """The flow that all libraries build."""

    frame_shape: tuple[int, int, int] = (1, 32, 32)
    blocks: int = 3
    couplings: int = 10
    hidden_channels: int = 64

    def levels(self) -> list[tuple[int, int, int]]:
        """Shape within each block, after its squeeze; half of the channels leave after each but the last."""
        shapes, (channels, height, width) = [], self.frame_shape
        for _ in range(self.blocks):
            channels, height, width = 4 * channels, height // 2, width // 2
            shapes.append((channels, height, width))
            channels //= 2
        return shapes


class _Ours(nn.Module):
    def __init__(self, topology: Topology, memory: Memory) -> None:
        super().__init__()
        sizes = (topology.blocks, topology.couplings, topology.hidden_channels)
        self.flow = Flow(topology.frame_shape, *sizes, mix="none", memory=memory)

    def forward(self, frames: Tensor) -> Tensor:
        embeddings, log_abs_det = self.flow(frames)
        density: Tensor = log_abs_det - (embeddings.square() + math.log(2 * math.pi)).sum(1) / 2
        return density


def ours(topology: Topology) -> nn.Module:
    """linear_video.models.ile.flow."""
    return _Ours(topology, "none")


def ours_checkpoint(topology: Topology) -> nn.Module:
    """The same, with each coupling computed twice from its input."""
    return _Ours(topology, "checkpoint")


def ours_reversible(topology: Topology) -> nn.Module:
    """The same, with each coupling's input recomputed from its output."""
    return _Ours(topology, "reversible")


class _Call(nn.Module):
    """A library's model with the common call."""

    def __init__(self, model: nn.Module, log_prob: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.log_prob = model, log_prob

    def forward(self, frames: Tensor) -> Tensor:
        return self.log_prob(frames)


def normflows(topology: Topology) -> nn.Module:
    """Normflows' multi-scale flow of affine coupling blocks with its own convolutional network, as in its Glow."""
    import normflows as nf

    bases, flows, merges = [], [], []
    for level, (channels, height, width) in enumerate(topology.levels()):
        hidden = 2 * (topology.hidden_channels,)
        last = level == topology.blocks - 1
        couplings = []
        for number in range(topology.couplings):
            network = nf.nets.ConvNet2d((channels // 2, *hidden, channels), (3, 1, 3), leaky=0.0, init_zeros=True)
            mode = "channel_inv" if number % 2 else "channel"
            couplings.append(nf.flows.AffineCouplingBlock(network, scale_map="sigmoid", split_mode=mode))
        flows.append([*couplings, nf.flows.Squeeze()])
        leaving = (channels if last else channels // 2, height, width)
        bases.append(nf.distributions.DiagGaussian(leaving, trainable=False))
        if not last:
            merges.append(nf.flows.Merge())
    # From embedding to frame, as the library orders them.
    model = nf.MultiscaleFlow(bases[::-1], [nn.ModuleList(block) for block in flows[::-1]], merges, class_cond=False)
    return _Call(model, lambda frames: model.log_prob(frames, None))


def freia(topology: Topology) -> nn.Module:
    """FrEIA's graph of two-sided affine blocks, each two couplings, with a network of its tutorial's kind."""
    from FrEIA import framework, modules

    def network(inputs: int, outputs: int) -> nn.Module:
        return _network(inputs, topology.hidden_channels, outputs)

    block = (modules.GLOWCouplingBlock, {"subnet_constructor": network})
    nodes = [framework.InputNode(*topology.frame_shape)]
    leaving = []
    last = nodes[0].out0
    for level, (channels, _, _) in enumerate(topology.levels()):
        for piece, settings in [(modules.IRevNetDownsampling, {}), *(topology.couplings // 2) * [block]]:
            nodes.append(framework.Node(last, piece, settings))
            last = nodes[-1].out0
        if level < topology.blocks - 1:
            nodes.append(framework.Node(last, modules.Split, {"section_sizes": 2 * [channels // 2], "dim": 0}))
            last = nodes[-1].out0
            leaving.append(framework.OutputNode(nodes[-1].out1))
    leaving.append(framework.OutputNode(last))
    model = framework.GraphINN(nodes + leaving, verbose=False)

    def log_prob(frames: Tensor) -> Tensor:
        parts, log_abs_det = model(frames)
        embeddings = torch.cat([part.flatten(1) for part in parts], dim=1)
        density: Tensor = log_abs_det - (embeddings.square() + math.log(2 * math.pi)).sum(1) / 2
        return density

    return _Call(model, log_prob)


def nflows(topology: Topology) -> nn.Module:
    """Nflows' multi-scale composite of affine coupling transforms."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow as NflowsFlow
    from nflows.transforms import (
        AffineCouplingTransform,
        CompositeTransform,
        MultiscaleCompositeTransform,
        SqueezeTransform,
    )

    class Network(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.layers = _network(inputs, topology.hidden_channels, outputs)

        def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
            outputs: Tensor = self.layers(inputs)
            return outputs

    scales = MultiscaleCompositeTransform(topology.blocks)
    for shape in topology.levels():
        first, second = [1] * (shape[0] // 2), [0] * (shape[0] // 2)
        masks = [first + second if number % 2 else second + first for number in range(topology.couplings)]
        couplings = [AffineCouplingTransform(mask, Network) for mask in masks]
        scales.add_transform(CompositeTransform([SqueezeTransform(), *couplings]), shape)
    model = NflowsFlow(scales, StandardNormal([math.prod(topology.frame_shape)]))
    return _Call(model, model.log_prob)


def _network(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Three convolutions, as a user of these libraries would write them; the last starts at zero."""
    last = nn.Conv2d(hidden, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    middle = (nn.Conv2d(hidden, hidden, 1), nn.ReLU())
    return nn.Sequential(nn.Conv2d(inputs, hidden, 3, padding=1), nn.ReLU(), *middle, last)
