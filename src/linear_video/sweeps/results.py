"""What a sweep has found: its table and Optuna's plots, in its folder and in its run in MLflow."""

import json
import logging
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from linear_video.common.commit import git_commit
from linear_video.common.files import replacing_file
from linear_video.common.markup import markdown_table
from linear_video.sweeps.running import SCORES
from linear_video.sweeps.study import Settings, Study
from linear_video.sweeps.trials import DONE, Trials, settings_of

logger = logging.getLogger(__name__)

COMMITS = "git_commit"  # tag of the run in MLflow: one for each version of the code that trials were started from


class Results:
    """The table and the plots of a sweep."""

    def __init__(self, study: Study, trials: Trials, folder: Path, experiments: list[str]) -> None:
        self.study, self.trials, self.folder, self.experiments = study, trials, folder, experiments
        self.run_id = self.commits = ""

    def begin(self, run_id: str, command: str) -> None:
        """Say in the run in MLflow that the sweep is at work, from which code."""
        import mlflow

        self.run_id, client = run_id, mlflow.MlflowClient()
        before = client.get_run(run_id).data.tags.get(COMMITS, "")
        is_done = sum(trial.state in DONE for trial in self.trials.all()) >= self.trials.wanted()
        commit = before if is_done else git_commit()  # no trial is started from this code
        if before and commit not in before:
            logger.warning("Trials so far were of other code (commit %s); those to come are of %s.", before, commit)
        self.commits = before if commit in before else ", ".join(filter(None, [before, commit]))
        client.set_tag(run_id, COMMITS, self.commits)
        for name, value in {
            "kedro_command": command,
            "metric": self.study.metric,
            "direction": self.study.direction,
        }.items():
            client.set_tag(run_id, name, value)
        client.update_run(run_id, "RUNNING")

    def end(self, status: str) -> None:
        """Close the run in MLflow."""
        import mlflow

        mlflow.MlflowClient().set_terminated(self.run_id, status)

    def write(self) -> None:
        """Write the table and the plots of the trials that are done so far."""
        import mlflow

        table = self.table()
        files = [self._write_text("study.json", json.dumps(self._about(), indent=1))]
        if len(table):
            files.append(self._write_text("table.csv", table.to_csv(index=False)))
            text = markdown_table(self.shown(table))
            files.append(self._write_text("table.md", text + "\n"))
            files += self._plots()
            mlflow.MlflowClient().set_tag(self.run_id, "mlflow.note.content", text)
            self._log_best()
        for file in files:
            mlflow.MlflowClient().log_artifact(self.run_id, str(file))
        if len(table):
            logger.info("See %s.", os.path.relpath(self.folder / "table.md"))

    def _about(self) -> dict[str, Any]:
        """The study, the commits that its trials were started from, and how long all trials took together."""
        trials = [trial for group in self._groups().values() for trial in group]
        minutes = math.fsum(trial.duration.total_seconds() / 60 for trial in trials if trial.duration is not None)
        return self.study.model_dump(mode="json", exclude={"storage"}) | {"commit": self.commits, "minutes": minutes}

    def table(self) -> pd.DataFrame:
        """For all trials that differ in their seed alone, and each experiment: means, least and greatest values.

        Those of a grid come in its order, those of a search from the best to the worst.
        """
        groups = self._groups()
        if self.study.is_grid:
            order = dict.fromkeys(settings.group for settings in self.study.grid())
        else:
            order = dict.fromkeys([*self._ranked(), *groups])
        found = [groups[group] for group in order if group in groups]
        return pd.DataFrame([self._row(experiment, trials) for trials in found for experiment in self.experiments])

    def _groups(self) -> dict[str, list[FrozenTrial]]:
        """Trials that are complete, one of each setting, by all settings but the seed."""
        groups: dict[str, dict[str, FrozenTrial]] = {}
        for trial in self.trials.all():
            settings = settings_of(trial)
            if settings is not None and trial.state == TrialState.COMPLETE:
                groups.setdefault(settings.group, {})[settings.key] = trial
        return {group: list(trials.values()) for group, trials in groups.items()}

    def _ranked(self) -> dict[str, float]:
        """The mean metric of what has run with all seeds, from the best to the worst."""
        seeds = len(self.study.all_seeds)
        means = {
            group: _mean([trial.value or 0.0 for trial in trials])
            for group, trials in self._groups().items()
            if len(trials) == seeds
        }
        best_first = sorted(means.items(), key=lambda item: item[1], reverse=self.study.direction == "maximize")
        return dict(best_first)

    def _row(self, experiment: str, trials: list[FrozenTrial]) -> dict[str, Any]:
        settings = settings_of(trials[0])
        assert settings is not None
        row: dict[str, Any] = {"case": settings.case} if settings.case else {}
        row |= {**settings.values, "model": experiment.partition(".")[0], "trials": len(trials)}
        for column in self.study.shown:
            values = [trial.user_attrs[SCORES][experiment].get(column, math.nan) for trial in trials]
            row |= {column: _mean(values), f"{column} least": min(values), f"{column} greatest": max(values)}
        return row

    def shown(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table for people: numbers in one cell, and parameters by the last part of their names."""
        return pd.DataFrame([self._shown(row) for row in table.to_dict("records")])

    def _shown(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        found = {}
        for name, value in row.items():
            base, _, kind = name.rpartition(" ")
            if base in self.study.shown and kind in ("least", "greatest"):
                continue
            if name not in self.study.shown:
                found[name if name not in self.study.search else name.rpartition(".")[2]] = value
            elif row["trials"] == 1:
                found[name] = f"{value:.4g}"
            else:
                found[name] = f"{value:.4g} ({row[f'{name} least']:.4g} to {row[f'{name} greatest']:.4g})"
        return found

    def _log_best(self) -> None:
        """Keep which settings are the best by their mean over seeds, unless the study is a report."""
        import mlflow

        ranked = self._ranked()
        if self.study.report or not ranked:
            return
        best, client = next(iter(ranked)), mlflow.MlflowClient()
        client.log_metric(self.run_id, f"best/{self.study.metric}", ranked[best])
        client.set_tag(self.run_id, "best", Settings(*json.loads(best)).name)

    def _plots(self) -> list[Path]:
        """Optuna's plots, as far as there are trials enough: of the course, and of how much each parameter matters."""
        from matplotlib import pyplot as plt
        from optuna.visualization import matplotlib as plots

        done = [t for t in self.trials.optuna.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
        drawn: dict[str, Any] = {"history.png": plots.plot_optimization_history}
        varied = {name for name in self.study.search if len({repr(trial.params.get(name)) for trial in done}) > 1}
        if len(varied) > 1 and len({trial.value for trial in done}) > 1:
            drawn["importances.png"] = plots.plot_param_importances
        files = []
        plt.switch_backend("agg")
        for name, plot in drawn.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                axes = plot(self.trials.optuna, target_name=self.study.metric)
            with replacing_file(self.folder / name) as part:
                axes.figure.savefig(part, format="png", dpi=120, bbox_inches="tight")
            plt.close(axes.figure)
            files.append(self.folder / name)
        return files

    def _write_text(self, name: str, text: str) -> Path:
        with replacing_file(self.folder / name) as part:
            part.write_text(text)
        return self.folder / name


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
