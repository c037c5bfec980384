"""What is logged and tracked for each kind of result: scores, losses, summaries, results on footage."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from linear_video.common import storage
from linear_video.common.markup import escaped, markdown_table
from linear_video.tracking.runs import Measure

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

RESULTS = ("psnr", "spread", "alarms")  # of footage, logged and tracked, beside other methods' PSNR
OWN = (*RESULTS, "model_psnr", "backtest_blend_psnr", "backtest_model_psnr")  # methods that include the model


class Report(NamedTuple):
    """What is done with one kind of result; its files become artifacts.

    MLflow groups metrics into sections by the part of their names before the last slash, in alphabetical order:
    ``evaluation`` of the model comes first, then ``loss``, then the ``reference`` that it should beat; ``video``, the
    counts of a dataset, comes last. Metrics without a section would come after all others.

    Attributes:
        tell: logs a line about the result, given its place on disk.
        measures: returns its metrics.
        table: returns its rows in a run's description, as a table without index.
    """

    tell: Callable[[Any, Path], None] | None = None
    measures: Callable[[Any], Iterator[Measure]] | None = None
    table: "Callable[[Any], pd.DataFrame] | None" = None


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
    if "openstl" in scores:
        ours, theirs = (row["openstl"] for row in (scores, last))
        values = (f"{metric.upper()} {ours[metric]:.4g} ({theirs[metric]:.4g})" for metric in ours)
        logger.info(f"{name}, in OpenSTL's conventions (last frame): {', '.join(values)}")
    if scores.get("bits_per_value") is not None:
        logger.info(f"{name}: {scores['bits_per_value']:.2f} bits per value of held-out clips")
    if "linearization_error" in scores:
        logger.info(
            f"{name}: linearization error {scores['linearization_error']:.3g} "
            f"(if the code stood still: {scores['persistence_error']:.3g})"
        )
    areas = {score: areas["auroc"] for score, areas in _anomaly_scores(scores).items() if areas["auroc"] is not None}
    if areas:
        told = ", ".join(f"{score.replace('_', ' ')} {area:.3f}" for score, area in areas.items())
        logger.info(f"{name}, anomalous frames, area under the ROC curve: {told}")


def _anomaly_scores(scores: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Areas under the ROC curve of each anomaly score; none of a dataset without labels."""
    found: dict[str, dict[str, float | None]] = scores.get("anomalies", {}).get("scores", {})
    return found


def _measures_of_scores(scores: dict[str, Any]) -> Iterator[Measure]:
    from linear_video.evaluation.anomalies import OWN as OWN_ANOMALY_SCORES
    from linear_video.evaluation.linearity import NAMES as LINEARITY
    from linear_video.evaluation.scores import references_of

    if "synthesis" in scores:
        for name, value in scores["synthesis"].items():
            if isinstance(value, float) and math.isfinite(value):
                yield Measure(f"evaluation/{name}", value)
        return
    rows = {"evaluation/": scores} | {f"reference/{name}_": row for name, row in references_of(scores).items()}
    for prefix, row in rows.items():
        for metric in ("psnr", "ssim"):
            for frame, value in enumerate(row[metric], start=1):
                yield Measure(f"{prefix}{metric}", value, frame)
                if frame in (1, 5):
                    yield Measure(f"{prefix}{metric}_frame_{frame}", value)
        for metric, value in row.get("openstl", {}).items():
            yield Measure(f"{prefix}openstl_{metric}", value)
    for name in ("bits_per_value", *LINEARITY):
        if scores.get(name) is not None:
            yield Measure(f"evaluation/{name}", scores[name])
    for score, areas in _anomaly_scores(scores).items():
        section = "evaluation" if score in OWN_ANOMALY_SCORES else "reference"
        for name, area in areas.items():
            if area is not None:
                yield Measure(f"{section}/{score}_{name}", area)


def _table_of_scores(scores: dict[str, Any]) -> "pd.DataFrame":
    import pandas as pd

    from linear_video.evaluation.experiment import rows_of

    if "synthesis" in scores:
        numbers = {k: f"{v:.3g}" for k, v in scores["synthesis"].items() if isinstance(v, float)}
        return pd.DataFrame([{"model": scores["model"], **numbers}])
    last = scores["horizon"]
    own = _anomaly_scores(scores).get("forecast_error", {}).get("auroc")
    areas = {} if own is None else {scores["model"]: {"AUROC, forecast error": f"{own:.3f}"}}
    return pd.DataFrame(
        {
            "model": name,
            **{f"PSNR / dB, frame {frame}": f"{row['psnr'][frame - 1]:.1f}" for frame in sorted({1, last})},
            **{f"SSIM, frame {frame}": f"{row['ssim'][frame - 1]:.3f}" for frame in sorted({1, last})},
            **areas.get(name, {}),
        }
        for name, row in rows_of(scores).items()
    )


def _measures_of_history(history: "pd.DataFrame") -> Iterator[Measure]:
    for row in history.to_dict("records"):
        step = int(row.pop("step"))
        for name, value in row.items():
            section = "training" if name == "seconds" else "loss" if str(name).endswith("_loss") else "loss_parts"
            if math.isfinite(value):
                yield Measure(f"{section}/{name}", float(value), step)


def _tell_summary(summary: "pd.DataFrame", path: Path) -> None:
    logger.info(f"{path.parent.name}:\n{summary.to_string(index=False)}\nSee {_shown(path.parent)}.")


def _measures_of_summary(summary: "pd.DataFrame") -> Iterator[Measure]:
    for row in summary.to_dict("records"):
        part = row.pop("part")
        for name, value in row.items():
            yield Measure(f"video/{part}_{name}", float(value))


def _tell_results(results: "pd.DataFrame", path: Path) -> None:
    for row in results.to_dict("records"):
        facts = "".join(f", {name} {value:.4g}" for name, value in _headline(row).items())
        logger.info(f"{row['task']} of {row['footage']}, {row['frames']} frames{facts}. See {_shown(row['folder'])}.")


def _measures_of_results(results: "pd.DataFrame") -> Iterator[Measure]:
    """With one task, a step for each piece of footage; with several tasks, a section for each."""
    several = len(set(results["task"])) > 1
    for number, row in enumerate(results.to_dict("records")):
        for name, value in _headline(row).items():
            own = name in OWN
            section = f"footage_{row['task']}" if several else "evaluation" if own else "reference"
            yield Measure(f"{section}/{name}", value, 0 if several else number)


def _table_of_results(results: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for row in results.to_dict("records"):
        known = _headline(row)
        own = [known[name] for name in ("psnr", "backtest_blend_psnr") if name in known]
        others = [value for name, value in known.items() if name not in OWN]
        rows.append(
            {name: row[name] for name in ("task", "footage", "model", "frames")}
            | {"PSNR / dB": f"{own[0]:.1f}" if own else "", "best reference": f"{max(others):.1f}" if others else ""}
        )
    return pd.DataFrame(rows)


def _table_of_comparison(scores: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    columns = {}
    for metric, unit, digits in (("psnr", " / dB", 1), ("ssim", "", 3)):
        for frame in sorted({int(scores["frame"].min()), int(scores["frame"].max())}):
            values = scores[scores["frame"] == frame].set_index("model")[metric]
            columns[f"{metric.upper()}{unit}, frame {frame}"] = values.map(f"{{:.{digits}f}}".format)
    return pd.DataFrame(columns).reset_index()


def _tell_page(page: str, path: Path) -> None:
    logger.info(f"See {_shown(path)}.")


def _headline(row: dict[Any, Any]) -> dict[str, float]:
    known = [name for name in row if name in RESULTS or str(name).endswith("_psnr")]
    return {name: float(row[name]) for name in known if math.isfinite(row[name])}


def _shown(path: str | Path) -> str:
    """A path as short as possible, relative to the user's folder if it is below it; or the URL that it stands for."""
    found, here = storage.place(path), Path.cwd()
    return str(found.relative_to(here)) if found.is_relative_to(here) else storage.name_of(found)


# The reports, by the last part of a result's name in the catalog.
REPORTS = {
    "scores": Report(_tell_scores, _measures_of_scores, _table_of_scores),
    "history": Report(measures=_measures_of_history),
    "figures": Report(),
    "sources": Report(),
    "summary": Report(_tell_summary, _measures_of_summary, lambda summary: summary),
    "contact_sheet": Report(),
    "table": Report(table=_table_of_comparison),
    "models": Report(),
    "markdown": Report(),
    "page": Report(_tell_page),
    "results": Report(_tell_results, _measures_of_results, _table_of_results),
}
OF_CLIPS = ("summary", "contact_sheet", "sources")
PICTURES = ("filmstrip.png", "contact_sheet.png")  # that a description shows


def tables_in_markdown(tables: "Mapping[str, pd.DataFrame]") -> str:
    """Tables of experiments, by name, as Markdown: one for each dataset, without repeated rows."""
    import pandas as pd

    by_dataset: dict[str, list[pd.DataFrame]] = {}
    for name, table in tables.items():
        by_dataset.setdefault(name.rpartition(".")[2], []).append(table)
    texts = []
    for dataset, several in by_dataset.items():
        rows = pd.concat(several, ignore_index=True).drop_duplicates().fillna("")
        texts += [f"On {escaped(dataset)}:"] * (len(by_dataset) > 1) + [markdown_table(rows)]
    return "\n\n".join(texts)
