"""Models that were trained with earlier versions still load: written here as those versions wrote them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from linear_video.models.checkpoint import load_checkpoint

# Settings, and shape and bits of every weight, as the first version with the format 1 wrote them, or the one named.
WRITTEN: dict[str, tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int]]]] = {
    "ile": (
        {
            **{"state_dimension": 2, "blocks": 1, "couplings": 1, "hidden_channels": 2, "middle_kernel": 1},
            **{"mix": "haar", "first_squeezes": 1, "eigenvalue_radius": [0.95, 1.0], "eigenvalue_angle": [0.0, 90.0]},
            **{"noise": 0.03, "noise_kind": "gaussian", "scale": "batch_mean", "profile_weight": 0.7},
            **{"loss_frames": None, "forecast_weight": 0.0, "forecast_context": 10, "prior_precision": 1.0},
            **{"fading_memory": 1.0, "memory": "none", "actions": 1},
        },
        {
            "gamma": ((), 32),
            "flow.blocks.0.1.network.0.weight": ((2, 2, 3, 3), 32),
            "flow.blocks.0.1.network.0.bias": ((2,), 32),
            "flow.blocks.0.1.network.2.weight": ((2, 2, 1, 1), 32),
            "flow.blocks.0.1.network.2.bias": ((2,), 32),
            "flow.blocks.0.1.network.4.weight": ((4, 2, 3, 3), 32),
            "flow.blocks.0.1.network.4.bias": ((4,), 32),
            "prior.theta_alpha": ((1,), 64),
            "prior.theta_beta": ((1,), 64),
            "prior.observation": ((64, 2), 32),
            "prior.control": ((2, 1), 32),
        },
    ),
    "ile, modal": (  # of version 0.2.0
        {
            **{"dynamics": "modal", "look_back": 2, "reach": 1, "field_start": "still", "motion_values": 2},
            **{"motion_channels": 1, "motion_share": 0.8, "motion_refinement": 0.1, "forecasts_per_clip": 1},
            **{"state_dimension": 256, "blocks": 1, "couplings": 0, "hidden_channels": 48, "middle_kernel": 1},
            **{"mix": "haar", "first_squeezes": 1, "eigenvalue_radius": [0.95, 1.0], "eigenvalue_angle": [0.0, 60.0]},
            **{"noise": 0.01, "noise_kind": "gaussian", "scale": "learned", "profile_weight": 0.0},
            **{"loss_frames": None, "forecast_weight": 1.0, "forecast_context": 10, "prior_precision": 0.2},
            **{"fading_memory": 0.7, "memory": "none", "actions": 0},
        },
        {
            "prior.mean": ((1, 8, 8), 32),
            "prior.turning": ((2, 34), 32),
            "prior.angle": ((1, 34), 32),
            "prior.radius": ((1, 34), 32),
            "prior.log_process": ((1, 34), 32),
            "prior.log_observation": ((1, 34), 32),
            "prior.log_initial": ((1, 34), 32),
            "prior.motion.convolutions.0.weight": ((1, 2, 5, 5), 32),
            "prior.motion.convolutions.0.bias": ((1,), 32),
            "prior.motion.convolutions.2.weight": ((1, 1, 3, 3), 32),
            "prior.motion.convolutions.2.bias": ((1,), 32),
            "prior.motion.convolutions.4.weight": ((2, 1, 3, 3), 32),
            "prior.motion.convolutions.4.bias": ((2,), 32),
            "prior.motion.dense.weight": ((4, 2), 32),
            "prior.motion.dense.bias": ((4,), 32),
            "prior.motion.last.weight": ((2, 4), 32),
            "prior.motion.last.bias": ((2,), 32),
            "prior.motion.doubt.weight": ((1, 4), 32),
            "prior.motion.doubt.bias": ((1,), 32),
        },
    ),
    "dynamic_vae": (
        {
            **{"state_dimension": 2, "filter_size": 3, "channels": 2, "channel_factor": 2, "hidden_units": 0},
            **{"observation_variance": 1.0, "transition": "soft", "stationarity_weight": 100.0, "greatest_lag": 1},
            **{"lag_doubling": 10, "first_angles": [0, 0], "first_radius": 0.7, "turning_share": 1.0},
            **{"linear_part": True},
        },
        {
            "transition": ((2, 2), 32),
            "transition_noise": ((2, 2), 32),
            "steps_seen": ((), 64),
            "encoder.0.weight": ((1, 2, 3, 3), 32),
            "encoder.0.bias": ((1,), 32),
            "encoder.3.weight": ((1, 1, 3, 3), 32),
            "encoder.3.bias": ((1,), 32),
            "encoder.6.weight": ((2, 1, 3, 3), 32),
            "encoder.6.bias": ((2,), 32),
            "encoder.10.weight": ((8, 2), 32),
            "encoder.10.bias": ((8,), 32),
            "decoder.dense.0.weight": ((2, 2), 32),
            "decoder.dense.0.bias": ((2,), 32),
            "decoder.convolutions.0.weight": ((1, 2, 3, 3), 32),
            "decoder.convolutions.0.bias": ((1,), 32),
            "decoder.convolutions.1.weight": ((1, 1, 3, 3), 32),
            "decoder.convolutions.1.bias": ((1,), 32),
            "decoder.convolutions.2.weight": ((1, 1, 3, 3), 32),
            "decoder.convolutions.2.bias": ((1,), 32),
            "linear.encoder.weight": ((4, 128), 32),
            "linear.encoder.bias": ((4,), 32),
            "linear.decoder.weight": ((64, 2), 32),
            "linear.decoder.bias": ((64,), 32),
        },
    ),
    "lds": (
        {"state_dimension": 2, "stable": True, "exact_up_to": 100},
        {"mean": ((64,), 64), "observation": ((64, 2), 64), "transition": ((2, 2), 64), "noise": ((2, 2), 64)},
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_checkpoint_of_an_earlier_version_loads(name: str, tmp_path: Path) -> None:
    settings, shapes = WRITTEN[name]
    generator = torch.Generator().manual_seed(0)
    kinds = {32: torch.float32, 64: torch.float64}
    weights = {k: 0.1 + 0.1 * torch.rand(s, generator=generator, dtype=kinds[bits]) for k, (s, bits) in shapes.items()}
    save_file(weights, tmp_path / "model.safetensors")
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    model_name = name.split(",")[0]
    config = {"model": model_name, "frame_shape": [1, 8, 8], "settings": settings, "format": 1}
    config["weights_sha256"] = digest
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_checkpoint(tmp_path)
    for key, value in weights.items():
        assert torch.equal(model.state_dict()[key], value)
    assert model.predict(torch.rand(1, 3, 1, 8, 8, generator=generator), 2).isfinite().all()
