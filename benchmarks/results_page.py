"""The page docs/results.md, from its template and the figures in docs/results: no figure is typed by hand."""

import json
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.evaluation.report import quoted
from page import render

TEMPLATE = Path(__file__).parents[1] / "docs/results.md.jinja"
MISSING = "*Not measured yet on this version.*"
SHORT = 10  # letters of a commit
# What a column is called, its format, and whether its greatest (1) or its least value (-1) is the best; 0 for neither.
LABELS = {
    "psnr": ("PSNR / dB", ".1f", 1),
    "ssim": ("SSIM", ".3f", 1),
    "bits_per_value": ("bits per value", ".2f", -1),
    "training_minutes": ("training / min", ".1f", 0),
    "openstl.mse": ("MSE", ".1f", -1),
    "openstl.mae": ("MAE", ".1f", -1),
    "openstl.ssim": ("SSIM", ".3f", 1),
    "openstl.psnr": ("PSNR / dB", ".2f", 1),
    "openstl.psnr_uint8": ("PSNR of overflowing 8 bits / dB", ".2f", 1),
    "auroc": ("all frames", ".3f", 1),
    "auroc_of_videos": ("mean over videos", ".3f", 1),
    "auroc_unscaled": ("all, not scaled", ".3f", 1),
    "synthesis.readable_frames": ("readable frames", ".1%", 1),
    "synthesis.correct_transitions": ("correct transitions", ".1%", 1),
    "synthesis.mean_run": ("mean run", ".0f", 1),
    "synthesis.variety": ("variety", ".2f", 0),
    "synthesis.turn_psnr": ("PSNR / dB", ".1f", 1),
    "synthesis.turn_ssim": ("SSIM", ".3f", 1),
    "synthesis.angle_error": ("error of the angle / degrees", ".0f", -1),
    "synthesis.confused": ("confused", ".0%", -1),
    "synthesis.spectrum_distance": ("power spectrum / dB", ".2f", -1),
    "synthesis.frechet_distance": ("Fréchet", ".4f", -1),
    "synthesis.autocorrelation_distance": ("autocorrelation", ".2f", -1),
    "synthesis.linearization_error": ("linearization error", ".3f", -1),
    "synthesis.sharpness": ("sharpness", ".2f", 0),
    "synthesis.late_mean": ("late mean", ".2f", 0),
    "synthesis.late_deviation": ("late deviation", ".2f", 0),
}
REFERENCES = {
    "last_frame": "last frame",
    "mean_frame": "mean frame",
    "anomalies.scores.forecast_error": "ile, forecast error",
    "anomalies.scores.likelihood_bits": "ile, likelihood",
    "anomalies.scores.frame_difference": "frame difference",
    "anomalies.scores.optical_flow": "error of optical flow",
}
NAMES = {"optical_flow": "optical flow", "lds": "linear system", "dynamic_vae": "Dynamic VAE"}


def rendered(folder: Path, commands: Mapping[str, str]) -> str:
    """The page, from the figures in a folder, and the command of each table, for those that are not there."""
    figures = {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}
    page = Page(figures, commands)
    of_page = {"table": page.table, "made": page.made, "printed": page.printed, "measured": page.measured}
    return render(TEMPLATE, {**of_page, "published": published})


def published(number: int) -> str:
    """What others have published, as a table with its note: 0 for the first paper, 1 for OpenSTL's benchmarks."""
    found = quoted(openstl=True)[number]
    return f"{_markdown(found.table)}\n\n{found.note}"


class Page:
    """What the template may ask for."""

    def __init__(self, figures: Mapping[str, Any], commands: Mapping[str, str]) -> None:
        self.figures, self.commands = figures, commands

    def measured(self) -> str:
        """How many tables have been measured, and of how many commits."""
        commits = list(dict.fromkeys(commit for found in self.figures.values() for commit in _commits(found)))
        share = f"{len(self.figures)} of {len(self.commands)} tables have been measured"
        return f"{share}, at commit {commits[0]}." if len(commits) == 1 else f"{share}, at {len(commits)} commits."

    def made(self, *names: str) -> str:
        """How the figures of a table came about."""
        return "\n".join(self._made(name) for name in names)

    def _made(self, name: str) -> str:
        if name not in self.figures:
            return f"- `{self.commands[name]}` has not been run yet on this version."
        found = self.figures[name]
        seeds = ", ".join(map(str, found["seeds"]))
        how = (
            f"commit {', '.join(_commits(found))}, seeds {seeds}, {found['minutes']:.0f} minutes on {found['machine']}"
        )
        return f"- `{found['command']}`: {how}."

    def printed(self, name: str) -> str:
        """What a script has printed."""
        return str(self.figures[name]["printed"]) if name in self.figures else MISSING

    def table(
        self,
        names: Iterable[str],
        columns: list[str],
        references: Iterable[str] = ("last_frame",),
        every_case: bool = False,
    ) -> str:
        """Rows of several tables in one, the best mean of each column in bold.

        A model beside the one that the cases are of comes once, unless each case is of other clips (``every_case``).
        References are what a model's scores say of those.
        """
        rows: dict[str, Mapping[str, Any]] = {}
        for name in names:
            found = self.figures.get(name, {}).get("rows", [])
            of_cases = [row for row in found if row["model"] == found[0]["model"]]  # the model that they are of
            beside = [row for row in found if row not in of_cases]
            for row in found if every_case else [*of_cases, *beside]:
                named = _case(row) if every_case or row in of_cases else []
                rows.setdefault(", ".join([NAMES.get(row["model"], row["model"]), *named]), row)
        if not rows:
            return MISSING
        first = next(iter(rows.values()))
        for reference in references:
            below = f"{reference}."
            of_reference = {n.removeprefix(below): value for n, value in first.items() if n.startswith(below)}
            rows.setdefault(REFERENCES.get(reference, reference), {**of_reference, "trials": first["trials"]})
        shown = [column for column in columns if any(column in row for row in rows.values())]
        lines = [
            {"": label} | {_label(column): _cell(column, row, rows.values(), every_case) for column in shown}
            for label, row in rows.items()
            if any(column in row for column in shown)
        ]
        return _markdown(pd.DataFrame(lines))


def _commits(found: Mapping[str, Any]) -> list[str]:
    return [commit[:SHORT] for commit in found["commit"].split(", ")]


def _format(column: str) -> tuple[str, str, int]:
    return LABELS.get(column) or LABELS.get(column.rpartition(".")[0]) or (column, ".3g", 0)


def _label(column: str) -> str:
    frame = column.rpartition(".")[2]
    return f"{_format(column)[0]}, frame {int(frame) + 1}" if frame.isdigit() else _format(column)[0]


def _best(column: str, rows: Iterable[Mapping[str, Any]]) -> float | None:
    sign = _format(column)[2]
    values = [row[column] for row in rows if column in row]
    return sign * max(sign * value for value in values) if sign else None


def _cell(column: str, row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], every_case: bool) -> str:
    if column not in row:
        return ""
    shape = _format(column)[1]
    best = _best(column, [other for other in rows if not every_case or _case(other) == _case(row)])
    mean = format(row[column], shape)
    text = f"**{mean}**" if best is not None and mean == format(best, shape) else mean
    if row["trials"] == 1:
        return text
    return f"{text} ({row[f'{column} least']:{shape}} to {row[f'{column} greatest']:{shape}})"


def _case(row: Mapping[str, Any]) -> list[str]:
    """What stands before the model: a case, and values that are searched."""
    return [str(row[key]) for key in takewhile(lambda key: key != "model", row)]


def _markdown(table: pd.DataFrame) -> str:
    return str(table.to_markdown(index=False, disable_numparse=True))
