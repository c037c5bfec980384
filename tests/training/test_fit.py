import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from linear_video.common.errors import InputError, TrainingError
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.predictions import predict_clips
from linear_video.io.folders import StateFolderDataset
from linear_video.models.base import TrainedBySteps
from linear_video.models.registry import build
from linear_video.training import data
from linear_video.training.data import TrainingSteps
from linear_video.training.fit import TrainingSettings, fit, watchers

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
ADVERSARIAL: dict[str, Any] = {
    "input_frames": 2,
    "size": "small",
    "lp_weight": 1.0,
    "lp_power": 2,
    "gradient_difference_weight": 1.0,
    "gradient_difference_power": 1.0,
    "adversarial_weight": 0.05,
}
ILE: dict[str, Any] = {
    "dynamics": "dense",
    "state_dimension": 8,
    "blocks": 1,
    "couplings": 2,
    "hidden_channels": 4,
    "first_squeezes": 1,
    "noise": 0.03,
    "profile_weight": 0.7,
    "forecast_weight": 0.0,
}
Known = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]  # actions of the clips to train and validate


def clips(seed: int, n: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 1, 8, 8), dtype=np.uint8)


def new_model() -> Any:
    torch.manual_seed(1)
    return build("ile", (1, 8, 8), ILE)


def train(
    folder: Path,
    model: Any = None,
    settings: TrainingSettings = SETTINGS,
    seed: int = 0,
    identity: dict[str, Any] | None = None,
) -> tuple[Any, pd.DataFrame]:
    model = model or new_model()
    history = fit(model, clips(0), clips(1, 6), settings, seed, folder, identity or {})
    return model, history


class Trained(NamedTuple):
    model: Any
    history: pd.DataFrame
    folder: Path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The training with which others are compared."""
    folder = tmp_path_factory.mktemp("plain")
    return Trained(*train(folder), folder)


class DiesAt(TrainedBySteps):
    """A model that does something drastic when its loss is computed for the n-th time in training."""

    def __init__(self, model: Any, calls: int, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__(model.frame_shape, model.settings)
        self.model, self.calls, self.act = model, calls, act

    def predict(self, context: Tensor, horizon: int) -> Tensor:
        return context[:, -1:]

    def loss(self, clips: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        objective, parts = self.model.loss(clips, generator)
        if self.training:
            self.calls -= 1
            if self.calls == 0:
                return self.act(objective), parts
        return objective, parts


def test_training_lowers_the_loss_and_reports_it(tmp_path: Path) -> None:
    model, history = train(tmp_path / "state", settings=replace(SETTINGS, steps=24, validate_every=8))
    assert list(history["step"]) == [8, 16, 24]
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    assert {"train_loss", "val_loss", "train_profile", "val_marginal", "seconds"} <= set(history.columns)
    assert not model.training


def test_same_seed_same_weights_other_seed_other_weights(tmp_path: Path, plain: Trained) -> None:
    states = [plain.model.state_dict(), *(train(tmp_path / str(seed), seed=seed)[0].state_dict() for seed in (0, 1))]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_best_weights_are_kept(tmp_path: Path) -> None:
    """A rate so high at the end that the last validation is not the best."""
    settings = replace(SETTINGS, schedule="constant", learning_rate=0.3, steps=24, weight_average=0.0)
    model, history = train(tmp_path / "state", settings=settings)
    best = torch.load(tmp_path / "state" / "best.ckpt", weights_only=True)
    assert best["global_step"] == history["step"].iloc[history["val_loss"].argmin()]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, best["state_dict"][f"model.{name}"])


def check_resumed(folder: Path, settings: TrainingSettings, model: Any, history: pd.DataFrame) -> None:
    """Check that a training resumes from a folder, and ends like the undisturbed one."""
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 4
    resumed, resumed_history = train(folder, settings=settings)
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    columns = [c for c in history.columns if c != "seconds"]
    assert resumed_history[columns].equals(history[columns])


@pytest.mark.parametrize("weight_average", [0.0, 0.8])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight_average: float
) -> None:
    """It resumes from the files on disk in the middle of a training, as a kill would leave them."""
    folder, left = tmp_path / "state", tmp_path / "left"

    class Copied(TrainingSteps):
        def __getitem__(self, step: int) -> Any:
            if step == 7:
                shutil.copytree(folder, left)
            return super().__getitem__(step)

    settings = replace(SETTINGS, weight_average=weight_average)
    monkeypatch.setattr(data, "TrainingSteps", Copied)
    model, history = train(folder, settings=settings)
    monkeypatch.undo()
    shutil.rmtree(folder)
    left.rename(folder)  # checkpoints know where they lie
    check_resumed(folder, settings, model, history)


@pytest.mark.slow
@pytest.mark.parametrize("weight_average", [0.0, 0.8])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, weight_average: float) -> None:
    settings = replace(SETTINGS, weight_average=weight_average)
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
        import linear_video.training.data as module
        module.TrainingSteps = Killed
        train(Path({str(tmp_path / "killed")!r}), settings=replace(SETTINGS, weight_average={weight_average}))
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    check_resumed(tmp_path / "killed", settings, *train(tmp_path / "undisturbed", settings=settings))


def test_resuming_is_announced_and_other_settings_start_afresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "linear_video")
    train(tmp_path)
    train(tmp_path)
    assert "Resuming the interrupted training from step 11 of 11" in caplog.text
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
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(
    tmp_path: Path, act: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(TrainingError, match="at step 5"):
        train(tmp_path, DiesAt(new_model(), 6, act), settings=replace(SETTINGS, learning_rates={}))
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_rates_reach_the_parameters_they_name(tmp_path: Path) -> None:
    slow = replace(SETTINGS, learning_rate=1e-12, weight_average=0.0)
    before = new_model().state_dict()
    after = train(tmp_path, settings=slow)[0].state_dict()
    moved = {name for name in before if (before[name] - after[name]).abs().max() > 1e-6}
    assert moved
    assert all(name.startswith("prior") for name in moved)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_training_of_stages_may_be_too_short_for_the_last(tmp_path: Path, schedule: Any) -> None:
    model = build("ile", (1, 8, 8), {"dynamics": "modal", "blocks": 1, "couplings": 0, "reach": 2, "motion_share": 0.8})
    settings = replace(SETTINGS, steps=2, learning_rates={}, schedule=schedule)
    assert list(train(tmp_path, model, settings)[1]["step"]) == [2]


def test_a_rate_that_names_no_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"learning_rates names prio\., but the model's parameters start with flow, prior"
    ):
        train(tmp_path, settings=replace(SETTINGS, learning_rates={"prio.": 0.1}))


def test_no_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 for training"):
        fit(new_model(), clips(0, 0), clips(1), SETTINGS, 0, tmp_path, {})


def test_steps_draw_their_clips_by_seed_and_number() -> None:
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


def actions_of(frames: NDArray[np.uint8], seed: int = 7) -> NDArray[np.float32]:
    """Two values for each frame, of which the first tells the clip and the frame."""
    actions = np.random.default_rng(seed).standard_normal((*frames.shape[:2], 2)).astype(np.float32)
    actions[..., 0] = frames.reshape(*frames.shape[:2], -1).mean(axis=2) / 255
    return actions


def train_with_actions(folder: Path, actions: Known, settings: TrainingSettings = SETTINGS) -> tuple[Any, pd.DataFrame]:
    torch.manual_seed(1)
    model: Any = build("ile", (1, 8, 8), {**ILE, "actions": 2})
    history = fit(model, clips(0), clips(1, 6), settings, 0, folder, {}, actions)
    return model, history


def known_actions(seed: int = 7) -> Known:
    return actions_of(clips(0), seed), actions_of(clips(1, 6), seed)


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same under actions."""
    folder = tmp_path_factory.mktemp("acting")
    return Trained(*train_with_actions(folder, known_actions()), folder)


@pytest.mark.parametrize("numbers_only", [False, True])
def test_steps_have_the_actions_of_their_clips(numbers_only: bool) -> None:
    frames, known = clips(0), actions_of(clips(0))
    for rank in range(2):
        _, chosen, actions = TrainingSteps(frames, 6, 3, rank, 2, numbers_only, known)[5]
        drawn = frames[chosen.numpy()] if numbers_only else chosen.numpy()
        assert actions is not None
        assert actions.shape == (3, 6, 2)
        assert torch.equal(actions[..., 0], torch.from_numpy(actions_of(drawn)[..., 0]))


def test_every_loss_of_a_training_has_the_actions_of_its_clips(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model: Any = build("ile", (1, 8, 8), {**ILE, "actions": 2})
    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]] = model.loss
    seen: list[tuple[bool, int]] = []

    def watched(
        batch: Tensor, generator: torch.Generator | None = None, actions: Any = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append((model.training, len(batch)))
        np.testing.assert_allclose(actions[..., 0], batch.flatten(2).mean(2), atol=1e-6)
        return loss(batch, generator, actions)

    model.loss = watched
    fit(model, clips(0), clips(1, 6), replace(SETTINGS, weight_average=0.0), 0, tmp_path, {}, known_actions())
    assert [length for training, length in seen if training] == [4] * 11
    assert [length for training, length in seen if not training] == [4, 2] * 3  # all validation clips in turn


def test_a_training_learns_what_actions_do(tmp_path: Path, acting: Trained) -> None:
    assert acting.model.prior.control.abs().max() > 1e-3
    assert acting.history["val_loss"].notna().all()
    ignorant, _ = train_with_actions(tmp_path / "without", (None, None))
    assert not ignorant.prior.control.any()


def test_other_actions_start_a_training_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "linear_video")
    train_with_actions(tmp_path, known_actions())
    train_with_actions(tmp_path, known_actions())
    assert "Resuming the interrupted training from step 11 of 11" in caplog.text
    assert "starting afresh" not in caplog.text
    for others in (known_actions(8), (None, None)):
        caplog.clear()
        train_with_actions(tmp_path, others)
        assert "starting afresh" in caplog.text


def test_actions_of_clips_on_the_device_give_the_same_weights(tmp_path: Path, acting: Trained) -> None:
    model, _ = train_with_actions(tmp_path, known_actions(), replace(SETTINGS, clips_on_device=True))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in acting.model.state_dict().items())


@pytest.mark.parametrize("transition", ["soft", "hard", "two_stage"])
def test_one_set_of_learning_rates_does_for_every_form_of_the_transition(tmp_path: Path, transition: str) -> None:
    settings: dict[str, Any] = {
        "state_dimension": 4,
        "filter_size": 3,
        "channels": 4,
        "channel_factor": 2,
        "hidden_units": 0,
    }
    settings |= {"observation_variance": 1.0, "transition": transition, "stationarity_weight": 100.0}
    settings |= {"greatest_lag": 2, "lag_doubling": 10, "first_angles": (0, 90), "first_radius": 0.9}
    torch.manual_seed(0)
    model: Any = build("dynamic_vae", (1, 8, 8), {**settings, "turning_share": 1.0, "linear_part": False})
    before = model.transition.detach().clone()
    train(tmp_path, model, replace(SETTINGS, learning_rates={"transition": 1e-2}, weight_average=0.0))
    assert torch.equal(model.transition, before) == (transition == "two_stage")


def test_clips_are_read_from_a_memory_map_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", clips(0))
    frames = np.load(tmp_path / "frames.npy", mmap_mode="r")
    assert torch.equal(TrainingSteps(frames, 4, 3)[5][1], TrainingSteps(clips(0), 4, 3)[5][1])


def test_the_state_on_disk_is_free_of_pickled_objects(plain: Trained) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        torch.load(plain.folder / name, weights_only=True)


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
def test_impossible_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        replace(SETTINGS, **{name: value})


def test_devices_share_the_clips_of_a_step() -> None:
    whole = TrainingSteps(clips(0), 6, 0)[3][1]
    parts = [TrainingSteps(clips(0), 6, 0, rank, 2)[3][1] for rank in range(2)]
    assert torch.equal(torch.cat(parts)[[0, 3, 1, 4, 2, 5]], whole)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_two_processes_train_together(tmp_path: Path, strategy: Any) -> None:
    model, history = train(tmp_path, settings=replace(SETTINGS, devices=2, strategy=strategy))
    assert list(history["step"]) == [4, 8, 11]
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    before = new_model().state_dict()
    assert any((value != before[name]).any() for name, value in model.state_dict().items())


@pytest.mark.slow
def test_two_processes_train_networks_that_take_turns(tmp_path: Path) -> None:
    """Each step of the adversarial network leaves half of the parameters without a gradient."""
    model = build("adversarial", (1, 8, 8), {"input_frames": 2})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(tmp_path, model, replace(SETTINGS, devices=2, strategy="ddp_fork", learning_rates={}))
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert {"generators", "discriminators"} <= changed


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    """Of the same clips in a step; without noise, which each process draws for itself."""
    weights = {}
    both: dict[str, dict[str, Any]] = {"one": {}, "two": {"devices": 2, "strategy": "ddp_fork"}}
    for name, changes in both.items():
        torch.manual_seed(1)
        model = build("ile", (1, 8, 8), {**ILE, "noise": 0.0})
        train(tmp_path / name, model, replace(SETTINGS, **changes))
        weights[name] = model.state_dict()
    for name, value in weights["one"].items():
        torch.testing.assert_close(weights["two"][name], value, rtol=1e-4, atol=1e-5, msg=f"{name}: {{}}".format)


def test_bare_ddp_is_refused_with_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(ValueError, match=r"once more for each device.*ddp_spawn.*ddp_fork.*torchrun"):
        replace(SETTINGS, strategy="ddp")


def test_clips_that_lie_on_the_device_give_the_same_weights(tmp_path: Path, plain: Trained) -> None:
    model, _ = train(tmp_path, settings=replace(SETTINGS, clips_on_device=True))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in plain.model.state_dict().items())


@pytest.mark.parametrize("changes", [{"precision": "bf16-mixed"}, {"float32_products": "high"}])
def test_lower_precision_trains_alike(tmp_path: Path, changes: dict[str, Any], plain: Trained) -> None:
    rounded, history = train(tmp_path, settings=replace(SETTINGS, **changes))
    assert history["val_loss"].iloc[-1] == pytest.approx(plain.history["val_loss"].iloc[-1], abs=5e-3)
    assert rounded.prior.theta_alpha.dtype == torch.float64
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_memory_modes_train_alike(tmp_path: Path, memory: str, plain: Trained) -> None:
    """To rounding, which Adam's first steps, of the gradients' signs, can enlarge."""
    torch.manual_seed(1)
    model = build("ile", (1, 8, 8), {**ILE, "memory": memory})
    _, recomputed = train(tmp_path, model)
    np.testing.assert_allclose(recomputed["val_loss"], plain.history["val_loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs a C++ compiler")
def test_compiled_parts_train_alike(tmp_path: Path, plain: Trained) -> None:
    _, compiled = train(tmp_path, settings=replace(SETTINGS, compile=True))
    np.testing.assert_allclose(compiled["val_loss"], plain.history["val_loss"], rtol=1e-4)


def test_compiling_a_model_without_regions_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("adversarial", (1, 8, 8), ADVERSARIAL)
    with pytest.raises(InputError, match=r"training\.compile.*Adversarial names no parts"):
        train(tmp_path, model, replace(SETTINGS, compile=True, learning_rates={}))


def test_clips_are_read_as_they_are_needed_and_never_loaded(tmp_path: Path) -> None:
    """10,000 clips of 32x32x15 in a file; a sparse one, so that the test needs no room for it."""
    shape = (10_000, 15, 1, 32, 32)
    frames = np.lib.format.open_memmap(tmp_path / "frames.npy", "w+", np.uint8, shape)
    frames[0] = 255
    frames = np.load(tmp_path / "frames.npy", mmap_mode="r")
    torch.manual_seed(1)
    model: Any = build("ile", shape[2:], ILE)
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


def test_watchers_are_told_of_each_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int, float]] = []
    monkeypatch.setattr("linear_video.training.lightning.watchers", [lambda *all_of_it: told.append(all_of_it)])
    _, history = train(tmp_path / "state")
    assert [step for step, _, _ in told] == list(history["step"]) == [4, 8, 11]
    assert {steps for _, steps, _ in told} == {11}
    np.testing.assert_allclose([loss for _, _, loss in told], history["val_loss"])


def test_a_watcher_can_end_the_training_which_goes_on_from_there(tmp_path: Path) -> None:
    def enough(step: int, steps: int, loss: float) -> None:
        if step == 8:
            raise SystemExit(0)

    watchers.append(enough)
    try:
        with pytest.raises(SystemExit):
            train(tmp_path / "state")
    finally:
        watchers.remove(enough)
    _, history = train(tmp_path / "state")
    whole, _ = train(tmp_path / "whole")
    again, _ = train(tmp_path / "state")
    assert list(history["step"]) == [4, 8, 11]
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_the_last_state_is_that_of_the_last_validation_even_if_an_earlier_one_was_best(tmp_path: Path) -> None:
    others: dict[str, Any] = {"learning_rates": {}, "weight_average": 0.0, "schedule": "constant", "warmup_steps": 0}
    model, history = train(tmp_path, settings=replace(SETTINGS, steps=8, learning_rate=1.0, **others))
    assert list(history["step"]) == [4, 8]
    assert history["val_loss"].argmin() == 0
    best, last = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert (best["global_step"], last["global_step"]) == (4, 8)
    for name, value in model.state_dict().items():
        assert torch.equal(value, best["state_dict"][f"model.{name}"]), name


@pytest.mark.parametrize("rate", [3e-3, 1.0])  # with the greater one, what is best comes first
def test_a_training_goes_on_on_another_machine_that_shares_a_store(
    rate: float, root: str, another_machine: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: dict[str, Any] = {"learning_rates": {}, "weight_average": 0.0, "schedule": "constant", "warmup_steps": 0}
    settings = replace(SETTINGS, steps=8, learning_rate=rate, **others)
    expected, history = train(tmp_path / "local", settings=settings)
    assert (history["val_loss"].argmin() == 0) == (rate == 1.0)
    real = TrainingSteps.__getitem__

    def stops(self: TrainingSteps, step: int) -> Any:
        if step == 5:  # after the validation at step 4
            raise KeyboardInterrupt
        return real(self, step)

    place = StateFolderDataset(filepath=f"{root}/ile.training_state").load()
    with monkeypatch.context() as patched:
        patched.setattr(TrainingSteps, "__getitem__", stops)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(place, settings=settings)
    another_machine()
    place = StateFolderDataset(filepath=f"{root}/ile.training_state").load()
    seen: list[int] = []

    def noted(self: TrainingSteps, step: int) -> Any:
        seen.append(step)
        return real(self, step)

    monkeypatch.setattr(TrainingSteps, "__getitem__", noted)
    model, _ = train(place, settings=settings)
    assert seen[0] == 4
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
