"""What is told and tracked of each kind of result: scores, losses, summaries, what became of footage."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

RESULTS = ("psnr", "spread", "alarms")  # of footage, that are told and tracked; and other methods' PSNR


class Report(NamedTuple):
    """What is done with one kind of result, whose files become artifacts.

    Attributes:
        tell: logs a line on it, given its place on disk.
        track: puts its metrics into MLflow's run, with a prefix.
    """

    tell: Callable[[Any, Path], None] | None = None
    track: Callable[[Any, str], None] | None = None


def _tell_scores(scores: dict[str, Any], path: Path) -> None:
    name = f"{scores['model']} on {scores['dataset']}"
    if "synthesis" in scores:
        values = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in scores["synthesis"].items())
        logger.info(f"{name}: {', '.join(values)}")
        return
    last = scores["last_frame"]
    for frame in sorted({1, scores["horizon"]}):
        psnr, ssim, last_psnr, last_ssim = (row[k][frame - 1] for row in (scores, last) for k in ("psnr", "ssim"))
        logger.info(
            f"{name}, predicted frame {frame}: PSNR {psnr:.1f} dB, SSIM {ssim:.3f} "
            f"(last frame: {last_psnr:.1f} dB, {last_ssim:.3f})"
        )
    if scores.get("bits_per_value") is not None:
        logger.info(f"{name}: {scores['bits_per_value']:.2f} bits per value of held-out clips")


def _track_scores(scores: dict[str, Any], prefix: str) -> None:
    import mlflow

    if "synthesis" in scores:
        numbers = {k: v for k, v in scores["synthesis"].items() if isinstance(v, float) and math.isfinite(v)}
        mlflow.log_metrics({f"{prefix}{name}": value for name, value in numbers.items()})
        return
    for row_name, row in (("", scores), ("last_frame_", scores["last_frame"]), ("mean_frame_", scores["mean_frame"])):
        for metric in ("psnr", "ssim"):
            for frame, value in enumerate(row[metric], start=1):
                mlflow.log_metric(f"{prefix}{row_name}{metric}", value, step=frame)
                if frame in (1, 5):
                    mlflow.log_metric(f"{prefix}{row_name}{metric}_frame_{frame}", value)
    if scores.get("bits_per_value") is not None:
        mlflow.log_metric(f"{prefix}bits_per_value", scores["bits_per_value"])


def _track_history(history: "pd.DataFrame", prefix: str) -> None:
    import mlflow

    for row in history.to_dict("records"):
        step = int(row.pop("step"))
        values = {f"{prefix}{name}": float(value) for name, value in row.items() if math.isfinite(value)}
        mlflow.log_metrics(values, step=step)


def _tell_summary(summary: "pd.DataFrame", path: Path) -> None:
    logger.info(f"{path.parent.name}:\n{summary.to_string(index=False)}\nSee {_shown(path.parent)}.")


def _track_summary(summary: "pd.DataFrame", prefix: str) -> None:
    import mlflow

    for row in summary.to_dict("records"):
        part = row.pop("part")
        mlflow.log_metrics({f"{part}_{name}": float(value) for name, value in row.items()})


def _tell_results(results: "pd.DataFrame", path: Path) -> None:
    for row in results.to_dict("records"):
        facts = "".join(f", {name} {value:.4g}" for name, value in _headline(row).items())
        logger.info(f"{row['task']} of {row['footage']}, {row['frames']} frames{facts}. See {_shown(row['folder'])}.")


def _track_results(results: "pd.DataFrame", prefix: str) -> None:
    import mlflow

    for number, row in enumerate(results.to_dict("records")):
        mlflow.log_metrics(_headline(row), step=number)
        mlflow.log_artifacts(row["folder"], Path(row["folder"]).parent.name)
        mlflow.set_tags({"task": row["task"], "model": row["model"], "mlflow.runName": f"{row['task']} of footage"})


def _tell_page(page: str, path: Path) -> None:
    logger.info(f"See {_shown(path)}.")


def _headline(row: dict[Any, Any]) -> dict[str, float]:
    known = [name for name in row if name in RESULTS or str(name).endswith("_psnr")]
    return {name: float(row[name]) for name in known if math.isfinite(row[name])}


def _shown(path: str | Path) -> Path:
    """A path as short as can be, from where the user is."""
    found, here = Path(path), Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


# By the last part of a result's name in the catalog.
REPORTS = {
    "scores": Report(_tell_scores, _track_scores),
    "history": Report(track=_track_history),
    "figures": Report(),
    "sources": Report(),
    "summary": Report(_tell_summary, _track_summary),
    "contact_sheet": Report(),
    "table": Report(),
    "models": Report(),
    "markdown": Report(),
    "page": Report(_tell_page),
    "results": Report(_tell_results, _track_results),
}
