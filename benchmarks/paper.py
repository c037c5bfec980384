"""The first paper's table without Kedro and MLflow, for a machine with little more than PyTorch and Lightning.

    python benchmarks/paper.py --env best --symbols-folder <mnist> --folder <results>

simulates the clips of ``conf/<env>``, trains the ILE, on a GPU if there is one, and scores it: ``scores.json``,
``history.csv``, ``table.md``, ``horizon.png``, ``filmstrip.png`` and the model go into the folder. ``kedro run
--env=best --pipelines=ile`` does the same. Further arguments change parameters, as in
``ile.moving_symbols.training.steps=1000``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from linear_video.clips.moving_symbols import MovingSymbolsSettings
from linear_video.common.commit import git_commit
from linear_video.evaluation.figures import drawn_clips, filmstrip, horizon_plot
from linear_video.evaluation.held_out import EvaluationSettings
from linear_video.evaluation.predictions import predict_clips
from linear_video.evaluation.scores import score, score_frames
from linear_video.experiments import Experiment
from linear_video.models.checkpoint import save_checkpoint
from linear_video.models.registry import build, describe
from linear_video.parameters import experiment_values, merged
from linear_video.training.fit import TrainingSettings, fit

CONF = Path(__file__).parents[1] / "conf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="best", choices=[path.parent.name for path in CONF.glob("*/parameters.yml")])
    parser.add_argument("--folder", type=Path, required=True, help="for the results")
    parser.add_argument("--symbols-folder", help="with MNIST's four files")
    parser.add_argument("parameters", nargs="*", help="such as ile.moving_symbols.training.steps=1000")
    arguments = parser.parse_args()
    parameters = read_parameters(arguments.env, arguments.parameters)
    if arguments.symbols_folder:
        parameters["moving_symbols"]["symbols_folder"] = arguments.symbols_folder
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run(parameters, arguments.folder)


def read_parameters(env: str, changes: list[str]) -> dict[str, Any]:
    """Base, environment and changes, each over the one before."""
    parameters: dict[str, Any] = {}
    for path in (*sorted((CONF / "base").glob("parameters*.yml")), CONF / env / "parameters.yml"):
        parameters = merged(parameters, yaml.safe_load(path.read_text()))
    for change in changes:
        name, _, value = change.partition("=")
        tree: Any = yaml.safe_load(value)
        for key in reversed(name.split(".")):
            tree = {key: tree}
        parameters = merged(parameters, tree)
    return parameters


def run(parameters: dict[str, Any], folder: Path) -> None:
    """Simulate, train, predict, score, draw."""
    seed, experiment = parameters["seed"], experiment_values(parameters, Experiment("ile", "moving_symbols"))
    symbols = {name: value for name, value in parameters["moving_symbols"].items() if name != "kind"}
    clips: Any = MovingSymbolsSettings(**symbols).make("moving_symbols", seed, folder).clips
    torch.manual_seed(seed)
    frame_shape = clips["train"].frames.shape[2:]
    model: Any = build("ile", frame_shape, experiment["model"])
    config = describe("ile", model)
    model.initialise(clips["train"].frames)
    history = fit(
        model,
        clips["train"].frames,
        clips["validation"].frames,
        TrainingSettings(**experiment["training"]),
        seed,
        folder / "training_state",
        config,
    )
    history.to_csv(folder / "history.csv", index=False)
    save_checkpoint(folder, model, {**config, "commit": git_commit(), "seconds": float(history["seconds"].iloc[-1])})
    given = parameters.get("evaluation", {})
    given = merged({k: v for k, v in given.items() if not isinstance(v, dict)}, given.get("moving_symbols", {}))
    evaluation = EvaluationSettings(**given)
    held_out = evaluation.chosen(clips["validation"], clips["test"]).frames
    predictions, numbers = predict_clips(model, held_out, evaluation), evaluation.scored(len(held_out))
    context, truth = evaluation.context_and_truth(evaluation.scored_frames(clips["validation"], clips["test"]))
    mean_frame = clips["train"].frames.mean(axis=(0, 1), dtype=np.float64) / 255
    scores: dict[str, Any] = {"model": "ile", "dataset": "moving_symbols", "held_out": evaluation.held_out}
    scores |= score(predictions, context, truth, mean_frame)
    (folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    rows = {"ile": scores, "last frame": scores["last_frame"], "mean frame": scores["mean_frame"]}
    horizon_plot(rows).savefig(folder / "horizon.png", dpi=110)
    captions = drawn_clips(score_frames(predictions, truth)[0], numbers)
    few = list(captions)
    strip = filmstrip(context[few], truth[few], predictions[few], "ile on moving_symbols", list(captions.values()))
    strip.savefig(folder / "filmstrip.png", dpi=110, bbox_inches="tight")
    table = "| | PSNR, frame 1 | SSIM, frame 1 | PSNR, frame 5 | SSIM, frame 5 |\n| --- | --- | --- | --- | --- |\n"
    for name, row in rows.items():
        cells = [f"{row['psnr'][i]:.2f} | {row['ssim'][i]:.3f}" for i in (0, 4)]
        table += f"| {name} | {' | '.join(cells)} |\n"
    (folder / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
