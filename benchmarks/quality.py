"""Training to equal quality: seconds until the next frame of validation clips is predicted with a given PSNR.

Each model is trained with the settings of its experiment on the default Moving Symbols, in a process of its own. The
processes work in turns, a few steps at a time, so that a slow phase of the machine slows all of them. Only the steps
count, not the validations between them, in seconds of the one core on which each model trains.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linear_video.clips.moving_symbols import MovingSymbolsSettings
from linear_video.evaluation.scores import score_frames
from linear_video.experiments import Experiment
from linear_video.models.base import FittedInClosedForm, TrainedBySteps, VideoModel
from linear_video.models.registry import build
from linear_video.parameters import experiment_values
from linear_video.training.data import Clips
from linear_video.training.fit import TrainingSettings
from linear_video.training.lightning import Fitting, make_trainer, processor, quiet
from measuring import Row, read_parameters

DATASET = "moving_symbols"
TRAINED = {"ile": 40, "convolutional": 10, "adversarial": 10}  # steps of a turn
OTHERS = ("lds", "optical_flow", "last_frame")  # fitted in closed form, or not at all
CONTEXT, TARGET, LONGEST = 10, 25.0, 180.0  # frames, dB, seconds
VALIDATED = 16  # clips whose loss each validation of the training computes; it decides nothing here

Frames = NDArray[np.uint8]  # (N, T, C, H, W)


def measure(tiny: bool) -> Row:
    """For each model: its steps and seconds until the target, or until the time is over, and the PSNR by then."""
    env, longest = ("test", 3.0) if tiny else ("base", LONGEST)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parameters = read_parameters(env)
        symbols = {name: value for name, value in parameters[DATASET].items() if name != "kind"}
        made: Any = MovingSymbolsSettings(**symbols).make(DATASET, parameters["seed"], folder).clips
        for split in ("train", "validation"):
            np.save(folder / f"{split}.npy", made[split].frames)
        models = train_all(folder, env, longest) + [without_steps(name, folder, env) for name in OTHERS]
    shape, count = made["train"].frames.shape, len(made["validation"].frames)
    return {"target": TARGET, "longest": longest, "clips": count, "shape": "x".join(map(str, shape)), "models": models}


def train_all(folder: Path, env: str, longest: float) -> list[Row]:
    """Train the models in turns; each one stops at the target, or when its own steps have taken too long."""
    context = multiprocessing.get_context("spawn")
    relays, courses = dict[str, Connection](), dict[str, list[tuple[int, float, float]]]()
    processes = []
    for name in TRAINED:
        relays[name], other = context.Pipe()
        processes.append(context.Process(target=train, args=(other, name, folder, env), name=name, daemon=True))
        processes[-1].start()
        other.close()  # so that the end of the process is noticed
    running = dict(relays)
    while running:
        for name, relay in list(running.items()):
            try:
                step, seconds, psnr = relay.recv()
            except EOFError:  # its training is over
                del running[name]
                continue
            courses.setdefault(name, []).append((step, seconds, psnr))
            print(f"{name}: step {step}, {seconds:.0f} s, {psnr:.1f} dB", flush=True)
            going_on = psnr < TARGET and seconds < longest
            relay.send(going_on)
            if not going_on:
                del running[name]
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"{process.name} failed.")
    return [outcome(name, course) for name, course in courses.items()]


def outcome(name: str, course: list[tuple[int, float, float]]) -> Row:
    """A row of the table, from the steps, seconds and PSNR at the end of each turn."""
    step, seconds, psnr = course[-1]
    return {
        "name": name,
        "psnr": psnr,
        "reached": psnr >= TARGET,
        "seconds": seconds,
        "steps": step,
        "steps_per_second": step / seconds if step else None,
    }


class Relayed(Fitting):
    """A training that tells at each validation how far it is, and then learns whether it goes on.

    ``tell`` is given the model, the step and the seconds so far. It is a function, since the average of the weights
    begins with a copy of all that is here, and a copied connection would close the connection in the end.
    """

    def __init__(
        self,
        model: TrainedBySteps,
        settings: TrainingSettings,
        seed: int,
        tell: Callable[[VideoModel, int, float], bool],
    ) -> None:
        super().__init__(model, settings, seed)
        self.tell, self.taken = tell, 0.0

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        super().on_train_epoch_start()
        self.begun = time.process_time()

    def on_validation_epoch_start(self) -> None:
        """Stop the clock; the weights are those that would be kept, averages if the settings ask for them."""
        self.taken += time.process_time() - self.begun
        if not self.tell(self.model, self.global_step, self.taken):
            self.trainer.should_stop = True


def train(relay: Connection, name: str, folder: Path, env: str) -> None:
    """Train one model, as ``training.fit`` does."""
    torch.set_num_threads(1)
    clips = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in ("train", "validation")}
    model, settings, seed = prepared(name, clips["train"], env)
    assert isinstance(model, TrainedBySteps)
    model.initialise(clips["train"])

    def tell(model: VideoModel, step: int, seconds: float) -> bool:
        relay.send((step, seconds, psnr_of(model, clips["validation"])))
        return bool(relay.recv())

    with quiet(), processor(settings):
        data = Clips(clips["train"], clips["validation"][:VALIDATED], settings, seed, (None, None))
        make_trainer(settings, folder / name, model.skips_parameters).fit(Relayed(model, settings, seed, tell), data)


def prepared(name: str, clips: Frames, env: str) -> tuple[VideoModel, Any, int]:
    """A model with the settings of its experiment, those of its training, and the seed."""
    parameters = read_parameters(env)
    values = experiment_values(parameters, Experiment(name, DATASET))
    if name in TRAINED:
        values["training"]["validate_every"] = TRAINED[name]
    torch.manual_seed(parameters["seed"])
    channels, height, width = clips.shape[2:]
    model = build(name, (channels, height, width), values["model"])
    return model, TrainingSettings(**values.get("training", {})), parameters["seed"]


def without_steps(name: str, folder: Path, env: str) -> Row:
    """The row of a model that needs no steps; its seconds are those of the fit in closed form."""
    clips = np.load(folder / "train.npy", mmap_mode="r")
    model, _, _ = prepared(name, clips, env)
    start = time.process_time()
    if isinstance(model, FittedInClosedForm):
        model.fit_closed_form(clips)
    seconds = time.process_time() - start
    psnr = psnr_of(model, np.load(folder / "validation.npy"))
    return outcome(name, [(0, seconds if isinstance(model, FittedInClosedForm) else 0.0, psnr)])


def psnr_of(model: VideoModel, clips: Frames) -> float:
    """Mean PSNR in dB of the frame after the context."""
    frames = clips[:, : CONTEXT + 1] / np.float32(255)
    with torch.no_grad():
        predicted = model.predict(torch.from_numpy(frames[:, :CONTEXT]), 1).numpy()
    return float(score_frames(predicted.astype(float), frames[:, CONTEXT:].astype(float))[0].mean())
