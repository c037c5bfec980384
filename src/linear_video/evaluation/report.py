"""The comparison of models as Markdown and as one self-contained HTML page."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from linear_video.common.markup import escaped, markdown_table
from linear_video.common.pages import as_text, rendered
from linear_video.evaluation.comparison import BASELINE, OPENSTL

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

# OpenSTL (Tan et al. 2023), docs/en/model_zoos/video_benchmarks.md at commit 8cac7418. Of SimVP, the PSNR is that of
# its second table; the first one still has the PSNR of 8 bits that overflow, 37.97 and 38.35.
QUOTED_OPENSTL = pd.DataFrame(
    [
        ["ConvLSTM-S", "15.0M", "29.80", "90.64", "0.9288", "22.10"],
        ["PredRNN", "23.8M", "23.97", "72.82", "0.9462", "23.28"],
        ["PredRNN++", "38.6M", "22.06", "69.58", "0.9509", "23.65"],
        ["MIM", "38.0M", "22.55", "69.97", "0.9498", "23.56"],
        ["E3D-LSTM", "51.0M", "35.97", "78.28", "0.9320", "21.11"],
        ["PredRNN.V2", "23.9M", "24.13", "73.73", "0.9453", "23.21"],
        ["SimVP (IncepU)", "58.0M", "32.15", "89.05", "0.9268", "21.84"],
        ["SimVP.V2 (gSTA)", "46.8M", "26.69", "77.19", "0.9402", "22.78"],
        ["TAU", "44.7M", "24.60", "71.93", "0.9454", "23.19"],
    ],
    columns=["quoted from OpenSTL, 200 epochs", "parameters", "MSE", "MAE", "SSIM", "PSNR / dB"],
)
QUOTED_OPENSTL_NOTE = (
    "Quoted from the benchmarks of OpenSTL (Tan et al. 2023, arXiv 2306.11249), not measured here: Moving MNIST, two "
    "digits at 64x64, ten frames seen and ten predicted, the 10,000 test clips of Srivastava et al. 2015; trained for "
    "200 epochs of 10,000 clips on a GPU. They compare with the scores above that have OpenSTL's conventions, and only "
    "where the clips above are those, or re-generated in the same way."
)


class Quoted(NamedTuple):
    """What others have published: a note that says what it is, and a table."""

    note: str
    table: pd.DataFrame


def quoted(openstl: bool) -> list[Quoted]:
    """What is quoted in a comparison, with or without OpenSTL's scores."""
    return [Quoted(QUOTED_NOTE, QUOTED), *([Quoted(QUOTED_OPENSTL_NOTE, QUOTED_OPENSTL)] if openstl else [])]


FORMS = {"psnr": ("PSNR / dB", ".1f"), "ssim": ("SSIM", ".3f")}

OPENSTL_FORMS = {
    "mse": ("MSE", ".1f"),
    "mae": ("MAE", ".1f"),
    "ssim": ("SSIM", ".4f"),
    "psnr": ("PSNR / dB", ".2f"),
    "psnr_uint8": ("PSNR of overflowing 8 bits / dB", ".2f"),
}
OPENSTL_LABEL = "in OpenSTL's conventions"


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


def openstl_table(rows: Mapping[str, Mapping[Any, float]]) -> pd.DataFrame:
    """A row for each model, as text: its scores in OpenSTL's conventions, means over clips and frames."""
    return pd.DataFrame(
        {OPENSTL_LABEL: name, **{label: f"{row[metric]:{form}}" for metric, (label, form) in OPENSTL_FORMS.items()}}
        for name, row in rows.items()
    )


def openstl_tables(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The same of the table of ``comparison.compare``, if that has such scores."""
    columns = [name for name in table.columns if name.startswith(OPENSTL)]
    if not columns:
        return []
    means = table.groupby("model", sort=False)[columns].mean().rename(columns=lambda name: name.removeprefix(OPENSTL))
    return [openstl_table({str(name).replace("_", " "): row.to_dict() for name, row in means.iterrows()})]


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


def markdown(title: str, notes: Sequence[str], tables: Sequence[pd.DataFrame], openstl: bool = False) -> str:
    """The tables one after the other, with the notes above them and the quoted scores at the end."""
    texts = [escaped(note) for note in notes]
    parts = [f"# {escaped(title)}", *texts, *map(markdown_table, tables)]
    for note, table in quoted(openstl):
        parts += [note, markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def page(
    title: str,
    notes: Sequence[str],
    tables: Sequence[pd.DataFrame],
    pictures: dict[str, Figure],
    openstl: bool = False,
) -> str:
    """The same as an HTML page that contains its pictures; nothing is loaded from elsewhere."""
    return rendered(
        "evaluation/comparison.html",
        title=title,
        notes=notes,
        tables=[as_rows(table) for table in tables],
        pictures={caption: _png(figure) for caption, figure in pictures.items()},
        quoted=[(note, as_rows(table)) for note, table in quoted(openstl)],
    )


def as_rows(table: pd.DataFrame) -> dict[str, Any]:
    """A table as rows for the template of the page."""
    return {"columns": list(table.columns), "rows": table.astype(str).to_numpy().tolist()}


def _png(figure: Figure) -> str:
    """A picture as text for a data URL."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, bbox_inches="tight")
    return as_text(file.getvalue())
