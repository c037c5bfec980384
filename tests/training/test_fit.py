import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_video.errors import InputError, TrainingError
from linear_video.evaluation.predict import predict_clips
from linear_video.evaluation.settings import EvaluationSettings
from linear_video.models.contract import build
from linear_video.training.settings import TrainingSettings
from torch import nn

from linear_video.training.fit import TrainingSteps, fit

SETTINGS = TrainingSettings(
    steps=11,
    clips_per_step=4,
    learning_rate=3e-3,
    learning_rates={"prior": 1e-2},
    warmup_steps=2,
    weight_average=0.8,
    validate_every=4,
    accelerator="cpu",
)
ADVERSARIAL = {
    "input_frames": 2,
    "size": "small",
    "lp_weight": 1.0,
    "lp_power": 2,
    "gradient_difference_weight": 1.0,
    "gradient_difference_power": 1.0,
    "adversarial_weight": 0.05,
}
ILE = {"state_dimension": 8, "blocks": 1, "couplings": 2, "hidden_channels": 4}


def clips(seed, n=20):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 1, 8, 8), dtype=np.uint8)


def new_model():
    torch.manual_seed(1)
    return build("ile", (1, 8, 8), ILE)


def train(folder, model=None, settings=SETTINGS, seed=0, identity=None):
    model = model or new_model()
    history = fit(model, clips(0), clips(1, 6), settings, seed, folder, identity or {})
    return model, history


class DiesAt(nn.Module):
    """A model that does something drastic when its loss is asked for the n-th time in training."""

    def __init__(self, model, calls, act):
        super().__init__()
        self.model, self.calls, self.act = model, calls, act

    def loss(self, clips, generator=None):
        objective, parts = self.model.loss(clips, generator)
        if self.training:
            self.calls -= 1
            if self.calls == 0:
                return self.act(objective), parts
        return objective, parts


def test_training_lowers_the_loss_and_reports_it(tmp_path):
    model, history = train(tmp_path / "state", settings=replace(SETTINGS, steps=60, validate_every=20))
    assert list(history["step"]) == [20, 40, 60]
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    assert {"train_loss", "val_loss", "train_profile", "val_marginal", "seconds"} <= set(history.columns)
    assert not model.training


def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    states = [train(tmp_path / str(i), seed=seed)[0].state_dict() for i, seed in enumerate((0, 0, 1))]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_best_weights_are_kept(tmp_path):
    """A rate so high at the end that the last validation is not the best."""
    settings = replace(SETTINGS, schedule="constant", learning_rate=0.3, steps=24, weight_average=0.0)
    model, history = train(tmp_path / "state", settings=settings)
    best = torch.load(tmp_path / "state" / "best.ckpt", weights_only=True)
    assert best["global_step"] == history["step"].iloc[history["val_loss"].argmin()]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, best["state_dict"][f"model.{name}"])


@pytest.mark.parametrize("weight_average", [0.0, 0.8])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, weight_average):
    settings = replace(SETTINGS, weight_average=weight_average)
    expected, history = train(tmp_path / "undisturbed", settings=settings)
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from dataclasses import replace
        from tests.training.test_fit import *
        class Killed(TrainingSteps):
            def __getitem__(self, step):
                if step == 7:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__getitem__(step)
        import linear_video.training.fit as module
        module.TrainingSteps = Killed
        train(Path({str(tmp_path / "killed")!r}), settings=replace(SETTINGS, weight_average={weight_average}))
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    resumed, resumed_history = train(tmp_path / "killed", settings=settings)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    columns = [c for c in history.columns if c != "seconds"]
    assert resumed_history[columns].equals(history[columns])


def test_resuming_is_announced_and_other_settings_start_afresh(tmp_path, caplog):
    caplog.set_level(logging.INFO, "linear_video")
    train(tmp_path)
    train(tmp_path)
    assert "Going on with the interrupted training from step 11 of 11" in caplog.text
    caplog.clear()
    for change in ({"settings": replace(SETTINGS, learning_rate=1e-3)}, {"seed": 5}, {"identity": {"model": "b"}}):
        _, history = train(tmp_path, **change)
        assert "starting afresh" in caplog.text
        assert list(history["step"]) == [4, 8, 11]
        caplog.clear()


@pytest.mark.parametrize(
    "act",
    [
        lambda objective: objective * float("nan"),
        lambda objective: objective + float("inf"),
        lambda objective: torch.linalg.cholesky(-torch.eye(2)).sum() + objective,
    ],
    ids=["nan", "inf", "cholesky"],
)
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, act):
    with pytest.raises(TrainingError, match="at step 5"):
        train(tmp_path, DiesAt(new_model(), 6, act), settings=replace(SETTINGS, learning_rates={}))
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_rates_reach_the_parameters_they_name(tmp_path):
    slow = replace(SETTINGS, learning_rate=1e-12, weight_average=0.0)
    before = new_model().state_dict()
    after = train(tmp_path, settings=slow)[0].state_dict()
    moved = {name for name in before if (before[name] - after[name]).abs().max() > 1e-6}
    assert moved
    assert all(name.startswith("prior") for name in moved)


def test_a_rate_that_names_no_parameter_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"learning_rates names prio\., but the model's parameters start with flow, prior"
    ):
        train(tmp_path, settings=replace(SETTINGS, learning_rates={"prio.": 0.1}))


def test_no_clips_are_refused(tmp_path):
    with pytest.raises(InputError, match="0 for training"):
        fit(new_model(), clips(0, 0), clips(1), SETTINGS, 0, tmp_path, {})


def test_steps_draw_their_clips_by_seed_and_number():
    steps = TrainingSteps(clips(0), 4, seed=3)
    number, first, actions = steps[5]
    assert number == 5
    assert actions is None
    assert first.shape == (4, 6, 1, 8, 8)
    assert torch.equal(first, TrainingSteps(clips(0), 4, seed=3)[5][1])
    assert not torch.equal(first, steps[6][1])
    drawn = np.concatenate([steps[i][1].numpy() for i in range(200)])
    assert {clip.tobytes() for clip in drawn} == {clip.tobytes() for clip in clips(0)}


# --- actions ---------------------------------------------------------------------------------------------------------


def actions_of(frames, seed=7):
    """Two values for each frame, of which the first tells the clip and the frame."""
    actions = np.random.default_rng(seed).standard_normal((*frames.shape[:2], 2)).astype(np.float32)
    actions[..., 0] = frames.reshape(*frames.shape[:2], -1).mean(axis=2) / 255
    return actions


def train_with_actions(folder, actions, settings=SETTINGS):
    torch.manual_seed(1)
    model = build("ile", (1, 8, 8), {**ILE, "actions": 2})
    history = fit(model, clips(0), clips(1, 6), settings, 0, folder, {}, actions)
    return model, history


def known_actions(seed=7):
    return actions_of(clips(0), seed), actions_of(clips(1, 6), seed)


@pytest.mark.parametrize("numbers_only", [False, True])
def test_steps_have_the_actions_of_their_clips(numbers_only):
    frames, known = clips(0), actions_of(clips(0))
    for rank in range(2):
        _, chosen, actions = TrainingSteps(frames, 6, 3, rank, 2, numbers_only, known)[5]
        drawn = frames[chosen.numpy()] if numbers_only else chosen.numpy()
        assert actions.shape == (3, 6, 2)
        assert torch.equal(actions[..., 0], torch.from_numpy(actions_of(drawn)[..., 0]))


def test_every_loss_of_a_training_has_the_actions_of_its_clips(tmp_path):
    torch.manual_seed(1)
    model, seen = build("ile", (1, 8, 8), {**ILE, "actions": 2}), []
    loss = model.loss

    def watched(batch, generator=None, actions=None):
        seen.append((model.training, len(batch)))
        np.testing.assert_allclose(actions[..., 0], batch.flatten(2).mean(2), atol=1e-6)
        return loss(batch, generator, actions)

    model.loss = watched
    fit(model, clips(0), clips(1, 6), replace(SETTINGS, weight_average=0.0), 0, tmp_path, {}, known_actions())
    assert [length for training, length in seen if training] == [4] * 11
    assert [length for training, length in seen if not training] == [4, 2] * 3  # all validation clips in turn


def test_a_training_learns_what_actions_do(tmp_path):
    model, history = train_with_actions(tmp_path, known_actions())
    assert model.prior.control.abs().max() > 1e-3
    assert history["val_loss"].notna().all()
    ignorant, _ = train_with_actions(tmp_path / "without", (None, None))
    assert not ignorant.prior.control.any()


def test_other_actions_start_a_training_afresh(tmp_path, caplog):
    caplog.set_level(logging.INFO, "linear_video")
    train_with_actions(tmp_path, known_actions())
    train_with_actions(tmp_path, known_actions())
    assert "Going on with the interrupted training from step 11 of 11" in caplog.text
    assert "starting afresh" not in caplog.text
    for others in (known_actions(8), (None, None)):
        caplog.clear()
        train_with_actions(tmp_path, others)
        assert "starting afresh" in caplog.text


def test_actions_of_clips_on_the_device_give_the_same_weights(tmp_path):
    one, two = (
        train_with_actions(tmp_path / str(on), known_actions(), replace(SETTINGS, clips_on_device=on))[0]
        for on in (False, True)
    )
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("transition", ["soft", "hard", "two_stage"])
def test_one_set_of_learning_rates_does_for_every_form_of_the_transition(tmp_path, transition):
    settings = {"state_dimension": 4, "filter_size": 3, "channels": 4, "channel_factor": 2, "hidden_units": 0}
    settings |= {"observation_variance": 1.0, "transition": transition, "stationarity_weight": 100.0}
    settings |= {"greatest_lag": 2, "lag_doubling": 10, "first_angles": (0, 90), "first_radius": 0.9}
    model = build("dynamic_vae", (1, 8, 8), {**settings, "turning_share": 1.0, "linear_part": False})
    before = model.transition.detach().clone()
    train(tmp_path, model, replace(SETTINGS, learning_rates={"transition": 1e-2}, weight_average=0.0))
    assert torch.equal(model.transition, before) == (transition == "two_stage")


def test_clips_are_read_from_a_memory_map_not_loaded(tmp_path):
    np.save(tmp_path / "frames.npy", clips(0))
    frames = np.load(tmp_path / "frames.npy", mmap_mode="r")
    assert torch.equal(TrainingSteps(frames, 4, 3)[5][1], TrainingSteps(clips(0), 4, 3)[5][1])


def test_the_state_on_disk_is_free_of_pickled_objects(tmp_path):
    train(tmp_path)
    for name in ("last.ckpt", "best.ckpt"):
        torch.load(tmp_path / name, weights_only=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("clips_per_step", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warmup_steps", -1),
        ("gradient_norm", 0.0),
        ("weight_average", 1.0),
        ("validate_every", 0),
    ],
)
def test_impossible_settings_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        replace(SETTINGS, **{name: value})


def test_devices_share_the_clips_of_a_step():
    whole = TrainingSteps(clips(0), 6, 0)[3][1]
    parts = [TrainingSteps(clips(0), 6, 0, rank, 2)[3][1] for rank in range(2)]
    assert torch.equal(torch.cat(parts)[[0, 3, 1, 4, 2, 5]], whole)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_two_processes_train_together(tmp_path, strategy):
    model, history = train(tmp_path, settings=replace(SETTINGS, devices=2, strategy=strategy))
    assert list(history["step"]) == [4, 8, 11]
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    before = new_model().state_dict()
    assert any((value != before[name]).any() for name, value in model.state_dict().items())


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path):
    """Of the same clips in a step; without noise, which each process draws for itself."""
    weights = {}
    for name, changes in (("one", {}), ("two", {"devices": 2, "strategy": "ddp_fork"})):
        torch.manual_seed(1)
        model = build("ile", (1, 8, 8), {**ILE, "noise": 0.0})
        train(tmp_path / name, model, replace(SETTINGS, **changes))
        weights[name] = model.state_dict()
    for name, value in weights["one"].items():
        torch.testing.assert_close(weights["two"][name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_bare_ddp_is_refused_with_what_to_use(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(ValueError, match=r"once more for each device.*ddp_spawn.*ddp_fork.*torchrun"):
        replace(SETTINGS, strategy="ddp")


def test_clips_that_lie_on_the_device_give_the_same_weights(tmp_path):
    one, two = (train(tmp_path / str(on), settings=replace(SETTINGS, clips_on_device=on))[0] for on in (False, True))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("changes", [{"precision": "bf16-mixed"}, {"float32_products": "high"}])
def test_lower_precision_trains_alike(tmp_path, changes):
    _, history = train(tmp_path / "exact")
    rounded, rounded_history = train(tmp_path / "rounded", settings=replace(SETTINGS, **changes))
    assert rounded_history["val_loss"].iloc[-1] == pytest.approx(history["val_loss"].iloc[-1], abs=5e-3)
    assert rounded.prior.theta_alpha.dtype == torch.float64
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_memory_modes_train_alike(tmp_path, memory):
    """To rounding, which Adam's first steps, of the gradients' signs, can enlarge."""
    _, history = train(tmp_path / "plain")
    torch.manual_seed(1)
    model = build("ile", (1, 8, 8), {**ILE, "memory": memory})
    _, recomputed = train(tmp_path / memory, model)
    np.testing.assert_allclose(recomputed["val_loss"], history["val_loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs a C++ compiler")
def test_compiled_parts_train_alike(tmp_path):
    _, history = train(tmp_path / "plain")
    _, compiled = train(tmp_path / "compiled", settings=replace(SETTINGS, compile=True))
    np.testing.assert_allclose(compiled["val_loss"], history["val_loss"], rtol=1e-4)


def test_compiling_a_model_without_regions_is_refused(tmp_path):
    torch.manual_seed(0)
    model = build("adversarial", (1, 8, 8), ADVERSARIAL)
    with pytest.raises(InputError, match=r"training\.compile.*Adversarial names no parts"):
        train(tmp_path, model, replace(SETTINGS, compile=True, learning_rates={}))


def test_clips_are_read_as_they_are_needed_and_never_loaded(tmp_path):
    """10,000 clips of 64x64x15 in a file; a sparse one, so that the test needs no room for it."""
    shape = (10_000, 15, 1, 64, 64)
    frames = np.lib.format.open_memmap(tmp_path / "frames.npy", "w+", np.uint8, shape)
    frames[0] = 255
    frames = np.load(tmp_path / "frames.npy", mmap_mode="r")
    torch.manual_seed(1)
    model = build("ile", shape[2:], ILE)
    settings = replace(SETTINGS, steps=2, validate_every=2, clips_per_step=2)
    tracemalloc.start()
    try:
        fit(model, frames, frames[:1000:500], settings, 0, tmp_path / "state", {})
        fitted = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        predict_clips(model, frames, EvaluationSettings(sequences=10, clips_per_batch=5))
        frames.mean(axis=(0, 1), dtype=np.float64)  # as the node that scores does
        predicted = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fitted < frames.nbytes / 4  # a thousand clips at a time for the fingerprint
    assert predicted < frames.nbytes / 20
