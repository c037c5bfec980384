"""The comparison of models as Markdown and as one self-contained HTML page."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from linear_video.common.markup import escaped, markdown_table
from linear_video.common.pages import as_text, rendered
from linear_video.evaluation.comparison import BASELINE

# Pottorff, Nielsen, Wingate 2019 (arXiv 1903.00133): Moving Symbols with MNIST at 32x32, 10 frames seen.
QUOTED = pd.DataFrame(
    [
        ["ILE", 23.5, 0.92, 17.4, 0.69],
        ["adversarial training (with the generator's adversarial gradient missing)", 20.6, 0.95, 12.1, 0.83],
        ["last input", 17.3, 0.76, 14.5, 0.67],
    ],
    columns=["quoted from the paper", "PSNR, frame 1", "SSIM, frame 1", "PSNR, frame 5", "SSIM, frame 5"],
)
QUOTED_NOTE = (
    "Quoted from Pottorff, Nielsen, Wingate 2019 (arXiv 1903.00133), not measured here: Moving Symbols with MNIST at "
    "32x32, ten frames seen. Its clips, sizes and budgets are not those above, so compare within a table only."
)


FORMS = {"psnr": ("PSNR / dB", ".1f"), "ssim": ("SSIM", ".3f")}


def metric_tables(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each metric, a row for each model: every predicted frame, and the gain over the last frame, as text.

    ``table`` comes from ``comparison.compare``. Intervals are given for the first and the last frame.
    """
    ends = sorted({int(table["frame"].min()), int(table["frame"].max())})
    tables = {}
    for metric, (label, form) in FORMS.items():
        rows = []
        for name, of_model in table.groupby("model", sort=False):
            facts = of_model.set_index("frame")
            row = {label: str(name).replace("_", " ")}
            for frame, value, half in zip(facts.index, facts[metric], facts[f"{metric}_ci95"], strict=True):
                row[f"frame {frame}"] = with_interval(value, half if frame in ends else None, form)
            for frame in ends:
                gain, half = float(facts[f"{metric}_gain"][frame]), float(facts[f"{metric}_gain_ci95"][frame])
                row[f"gain, frame {frame}"] = "" if name == BASELINE else with_interval(gain, half, form, "+")
            rows.append(row)
        tables[label] = pd.DataFrame(rows)
    return tables


def with_interval(value: float, half: float | None, form: str, sign: str = "") -> str:
    """A number, with the half-width of its interval if that is known."""
    known = half is not None and not np.isnan(half)
    return f"{value:{sign}{form}} ± {half:{form}}" if known else f"{value:{sign}{form}}"


def models_table(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """A row for each model, as text: sharpness, size, bits per value, time of training, speed of prediction, commit.

    Bits per value are measured on held-out clips, for models with a likelihood.
    """
    rows = []
    for name, of_model in table.groupby("model", sort=False):
        facts = of_model.set_index("frame")
        row = {"model": str(name).replace("_", " ")}
        for frame in sorted({int(facts.index.min()), int(facts.index.max())}):
            row[f"sharpness / dB, frame {frame}"] = f"{float(facts['sharpness'][frame]):.1f}"
        known = models[models["model"] == name]
        for _, model in known.iterrows():
            row["parameters"] = f"{model['parameters']:,}"
            bits = model.get("bits_per_value")
            row["bits per value"] = "" if bits is None or pd.isna(bits) else f"{bits:.2f}"
            row["training / min"] = f"{model['training_minutes']:.1f}"
            row["prediction / frames per s"] = f"{model['frames_per_second']:,.0f}"
            row["commit"] = str(model["commit"])[:10]
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def markdown(title: str, notes: Sequence[str], tables: Sequence[pd.DataFrame]) -> str:
    """The tables one after the other, with the notes above them and the quoted scores at the end."""
    texts = [escaped(note) for note in notes]
    parts = [f"# {escaped(title)}", *texts, *map(markdown_table, tables), QUOTED_NOTE, markdown_table(QUOTED)]
    return "\n\n".join(parts) + "\n"


def page(title: str, notes: Sequence[str], tables: Sequence[pd.DataFrame], pictures: dict[str, Figure]) -> str:
    """The same as an HTML page that contains its pictures; nothing is loaded from elsewhere."""
    return rendered(
        "evaluation/comparison.html",
        title=title,
        notes=notes,
        tables=[as_rows(table) for table in tables],
        pictures={caption: _png(figure) for caption, figure in pictures.items()},
        quoted=as_rows(QUOTED),
        quoted_note=QUOTED_NOTE,
    )


def as_rows(table: pd.DataFrame) -> dict[str, Any]:
    """A table as rows for the template of the page."""
    return {"columns": list(table.columns), "rows": table.astype(str).to_numpy().tolist()}


def _png(figure: Figure) -> str:
    """A picture as text for a data URL."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, bbox_inches="tight")
    return as_text(file.getvalue())
