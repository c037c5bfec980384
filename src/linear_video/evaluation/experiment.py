"""One page about an experiment: what a model was trained on, what it predicts for held-out clips, and how well."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from linear_video.common.commit import git_commit
from linear_video.common.pages import as_text, rendered
from linear_video.common.spread import spread
from linear_video.evaluation import anomalies
from linear_video.evaluation.report import FORMS, as_rows, openstl_table, with_interval
from linear_video.evaluation.scores import references_of

MOST_COLUMNS = 8  # predicted frames in a table
# In the order in which they are shown.
CAPTIONS = {
    "prediction": "Truth, prediction and their absolute difference, frame by frame. The border of the prediction is "
    "orange where the model no longer sees the truth.",
    "synthesis": "Endless sequences from frames that the model has never seen, below the truth.",
    "filmstrip": "The same as a film strip. Numbers count the frames from the first one that is predicted.",
    "horizon": "Scores of each predicted frame. Lines are means over the clips, bands or bars their 95 % intervals.",
    "anomalies": "How anomalous each frame is, in some of the test videos, scaled within each. The frames that are "
    "labelled as anomalous are shaded.",
    "spectrum": "Eigenvalues of the linear dynamics. Those on the unit circle last for ever; those within it decay.",
}
OF_SEQUENCES = "The first frames of some sequences, below the truth that starts with the same frames."
OF_ONE_CLIP = "Scores of each predicted frame."


def rows_of(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The scores of a model that predicts, and of the references beside it, by name."""
    rows = {scores["model"]: scores, **references_of(scores)}
    return {name.replace("_", " "): row for name, row in rows.items()}


def page(
    scores: Mapping[str, Any],
    config: Mapping[str, Any],
    learned: int,
    told: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    beside: Mapping[str, Any] | None = None,
) -> str:
    """HTML that needs no other files.

    Args:
        scores: of the model, as in ``scores.json``.
        config: the config of its checkpoint.
        learned: how many numbers it has learned.
        told: further facts about the model.
        settings: further settings, by what they belong to, beside those of the model and its training.
        pictures: content of PNG and GIF files, by name.
        beside: scores of the model that a synthesis is compared with.
    """
    training = config.get("training", {})
    tables = [*(_sequences(scores, beside) if "synthesis" in scores else _frames(scores))]
    if "anomalies" in scores:
        tables.append(anomalies.as_table(scores["anomalies"], scores["model"].replace("_", " ")))
    of_model = {"model": config.get("settings", {}), "training": training.get("settings", {})}
    return rendered(
        "evaluation/experiment.html",
        title=f"{scores['model']} on {scores['dataset']}",
        intro=_intro(scores),
        tables=[as_rows(table) for table in tables],
        pictures=[_picture(name, pictures[name], scores) for name in CAPTIONS if name in pictures],
        trained={**_trained(training, learned), **told, "page made at commit": _short(git_commit())},
        settings={name: dict(_flat(values)) for name, values in {**of_model, **settings}.items() if values},
    )


def _intro(scores: Mapping[str, Any]) -> str:
    _, height, width = scores["frame_shape"]
    count = scores["n_sequences"]
    if "synthesis" in scores:
        return (
            f"The model continues {count} starts of two frames each from the {scores['held_out']} clips, for "
            f"{scores['frames']} frames of {width}x{height} pixels."
        )
    clips = "1 clip" if count == 1 else f"{count} clips"
    return (
        f"Scored on {clips} of the {scores['held_out']} split, {width}x{height} pixels. The model sees "
        f"{scores['context']} frames and predicts the next {scores['horizon']}. "
        + ("One clip tells nothing about the spread, so there are no intervals." if count == 1 else "")
        + ("± is half of a 95 % interval of the mean. " if count > 1 else "")
        + (anomalies.intro(scores["anomalies"]) if "anomalies" in scores else "")
    )


def _frames(scores: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    """For each metric, rows for the model and the references, and columns for all or some predicted frames.

    Scores in OpenSTL's conventions come last, if there are any.
    """
    for metric, (label, form) in FORMS.items():
        rows = []
        for name, row in rows_of(scores).items():
            cells = {label: name}
            for k in spread(MOST_COLUMNS, scores["horizon"]):
                cells[f"frame {k + 1}"] = with_interval(row[metric][k], row[f"{metric}_ci95"][k], form)
            rows.append(cells)
        yield pd.DataFrame(rows)
    if "openstl" in scores:
        yield openstl_table({name: row["openstl"] for name, row in rows_of(scores).items()})


def _sequences(scores: Mapping[str, Any], beside: Mapping[str, Any] | None) -> Iterator[pd.DataFrame]:
    """A row for each score of a synthesis, and a column each for the model and the one beside it."""
    models = [scores, *([beside] if beside else [])]
    names = list(dict.fromkeys(name for one in models for name in one["synthesis"]))
    columns = {one["model"].replace("_", " "): [_number(one["synthesis"].get(n)) for n in names] for one in models}
    yield pd.DataFrame({"score": [name.replace("_", " ") for name in names], **columns})


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _trained(training: Mapping[str, Any], learned: int) -> dict[str, str]:
    facts = {"numbers learned": f"{learned:,}"}
    if "clips" in training:
        facts["training clips"] = f"{training['clips']:,}"
    if "settings" in training:
        facts["training"] = f"{training['settings']['steps']:,} steps; the best weights are those of step "
        facts["training"] += f"{training['best_step']:,}"
    else:
        facts["training"] = "in closed form" if learned else "none is needed"
    if "seconds" in training and learned:
        facts["time of training"] = _duration(training["seconds"])
    facts |= {name: str(training[name]) for name in ("seed",) if name in training}
    return facts | {"trained at commit": _short(training.get("commit", "unknown"))}


def _short(commit: str) -> str:
    """The first digits of a commit, and whether files had changed since then."""
    return commit[:10] + "-dirty" * commit.endswith("-dirty")


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _picture(name: str, content: bytes, scores: Mapping[str, Any]) -> dict[str, Any]:
    gif = content.startswith(b"GIF")
    width = int.from_bytes(content[6:8], "little") if gif else int.from_bytes(content[16:20], "big")
    caption = CAPTIONS[name]
    if name == "filmstrip" and "synthesis" in scores:
        caption = OF_SEQUENCES
    elif name == "horizon" and scores["n_sequences"] == 1:
        caption = OF_ONE_CLIP
    return {
        "caption": caption,
        "kind": "gif" if gif else "png",
        "width": width,
        "content": as_text(content),
    }


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
