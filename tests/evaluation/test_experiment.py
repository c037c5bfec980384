"""The page of an experiment says what its scores and config say, and needs no other files."""

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linear_video.evaluation.experiment import page
from linear_video.evaluation.scores import score
from linear_video.io.figures import Animation, encoded

PICTURES = {
    "spectrum": encoded(Figure(figsize=(3, 1))).content,
    "filmstrip": encoded(Figure(figsize=(5, 1))).content,
    "prediction": encoded(Animation(np.zeros((2, 10, 300, 3), np.uint8), 4)).content,
}
CONFIG = {
    "model": "ile",
    "settings": {"couplings": 3, "noise": {"first": 0.5}},
    "training": {
        "clips": 1200,
        "commit": "c" * 40 + "-dirty",
        "settings": {"steps": 4000, "learning_rate": 0.001},
        "seed": 7,
        "best_step": 3800,
        "seconds": 330.0,
    },
}


def scores_of(clips: int, horizon: int = 3, openstl: bool = False, **names: str) -> dict[str, Any]:
    frames = np.random.default_rng(0).random((3, clips, horizon, 1, 9, 8))
    facts = {"model": "ile", "dataset": "dots", "held_out": "test", **names}
    return facts | score(frames[0], frames[1], frames[2], frames[0, 0, 0], openstl, optical_flow=frames[1])


class Tables(HTMLParser):
    """The cells of all tables of a page, by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._within = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        self._within = tag in ("td", "th")
        if self._within:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = False

    def handle_data(self, data: str) -> None:
        if self._within:
            self.rows[-1][-1] += data


def test_the_tables_show_the_scores_beside_the_references() -> None:
    scores = scores_of(clips=4)
    expected = []
    for metric, label, digits in (("psnr", "PSNR / dB", 1), ("ssim", "SSIM", 3)):
        expected.append([label, "frame 1", "frame 2", "frame 3"])
        rows = {"ile": scores} | {name.replace("_", " "): scores[name] for name in ("last_frame", "mean_frame")}
        for name, row in (rows | {"optical flow": scores["optical_flow"]}).items():
            pairs = zip(row[metric], row[f"{metric}_ci95"], strict=True)
            expected.append([name, *(f"{value:.{digits}f} ± {half:.{digits}f}" for value, half in pairs)])
    assert Tables(page(scores, CONFIG, 10, {}, {}, PICTURES)).rows == expected


def test_scores_in_openstls_conventions_have_a_table_of_their_own() -> None:
    scores = scores_of(clips=4, openstl=True)
    *_, head, ours, last, mean, flow = Tables(page(scores, CONFIG, 10, {}, {}, PICTURES)).rows
    assert head[:5] == ["in OpenSTL's conventions", "MSE", "MAE", "SSIM", "PSNR / dB"]
    for row, of_model in ((ours, scores), *((r, scores[r[0].replace(" ", "_")]) for r in (last, mean, flow))):
        assert row[1:4] == [f"{of_model['openstl'][m]:.{d}f}" for m, d in (("mse", 1), ("mae", 1), ("ssim", 4))]


def test_a_single_clip_has_no_intervals_and_the_page_says_so() -> None:
    html = page(scores_of(clips=1), CONFIG, 10, {}, {}, PICTURES | {"horizon": PICTURES["spectrum"]})
    assert "±" not in html
    assert "1 clip of the test split" in html
    assert "there are no intervals" in html
    assert "bands" not in html


def test_of_many_frames_some_are_shown_from_the_first_to_the_last() -> None:
    head = Tables(page(scores_of(2, horizon=22), CONFIG, 10, {}, {}, PICTURES)).rows[0]
    assert head[1:] == [f"frame {k}" for k in (1, 4, 7, 10, 13, 16, 19, 22)]


def test_a_model_does_not_stand_beside_itself() -> None:
    rows = Tables(page(scores_of(2, model="last_frame"), {}, 0, {}, {}, PICTURES)).rows
    assert [row[0] for row in rows[:4]] == ["PSNR / dB", "last frame", "mean frame", "optical flow"]


def test_a_synthesis_stands_beside_its_reference() -> None:
    def made(model: str, **values: Any) -> dict[str, Any]:
        facts = {"model": model, "dataset": "dots", "held_out": "validation", "n_sequences": 4, "frames": 40}
        return facts | {"frame_shape": [1, 16, 20], "synthesis": values}

    ours, other = made("dynamic_vae", mean_run=2.5, cycle="1234", norm=1e-8), made("lds", mean_run=1.0, cycle="1234")
    html = page(ours, CONFIG, 10, {}, {}, PICTURES, other)
    assert Tables(html).rows == [
        ["score", "dynamic vae", "lds"],
        ["mean run", "2.5", "1"],
        ["cycle", "1234", "1234"],
        ["norm", "1e-08", ""],
    ]
    assert "4 starts of two frames each from the validation clips, for 40 frames of 20x16 pixels" in html
    assert Tables(page(ours, CONFIG, 10, {}, {}, PICTURES)).rows[0] == ["score", "dynamic vae"]


def test_the_page_is_whole_in_itself_and_shows_the_pictures_that_there_are() -> None:
    html = page(scores_of(2), CONFIG, 10, {}, {}, PICTURES)
    assert not re.findall(r'(?:src|href)="(?!data:image/)', html)
    found = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', html)
    kinds = [("gif", "prediction"), ("png", "filmstrip"), ("png", "spectrum")]
    assert [(kind, base64.b64decode(content)) for kind, content in found] == [(k, PICTURES[n]) for k, n in kinds]
    widths = [Image.open(io.BytesIO(PICTURES[name])).width for name in ("filmstrip", "spectrum")]
    assert re.findall(r", (\d+)px\)", html) == [str(width) for width in widths]


def facts_of(html: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))


def test_what_was_trained_and_how_long_is_told_with_all_settings() -> None:
    evaluation = {"context": 10}
    facts = facts_of(page(scores_of(2), CONFIG, 12345, {"speed": "5 frames"}, {"evaluation": evaluation}, PICTURES))
    assert facts.pop("page made at commit")
    assert facts == {
        "numbers learned": "12,345",
        "training clips": "1,200",
        "training": "4,000 steps; the best weights are those of step 3,800",
        "time of training": "5.5 min",
        "seed": "7",
        "trained at commit": "cccccccccc-dirty",
        "speed": "5 frames",
        "couplings": "3",
        "noise.first": "0.5",
        "steps": "4000",
        "learning_rate": "0.001",
        "context": "10",
    }


@pytest.mark.parametrize(
    ("learned", "training", "told"),
    [
        (10, {"seconds": 7000.0}, {"training": "in closed form", "time of training": "1.9 h"}),
        (10, {"seconds": 2.345}, {"training": "in closed form", "time of training": "2.3 s"}),
        (0, {"seconds": 0.1}, {"training": "none is needed"}),
        (0, {}, {"training": "none is needed", "trained at commit": "unknown"}),
    ],
)
def test_models_without_steps_are_told_as_such(learned: int, training: dict[str, Any], told: dict[str, str]) -> None:
    facts = facts_of(page(scores_of(2), {"training": training}, learned, {}, {}, PICTURES))
    assert told.items() <= facts.items()
    assert ("time of training" in facts) == ("time of training" in told)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onerror="alert(1)', "{{ 7 * 7 }}", "a & b"])
def test_names_and_settings_are_shown_as_they_are(name: str) -> None:
    class Seen(HTMLParser):
        def __init__(self, html: str) -> None:
            super().__init__()
            self.tags: list[Any] = []
            self.texts: list[str] = []
            self.feed(html)

        def handle_starttag(self, tag: str, attributes: Any) -> None:
            self.tags.append((tag, [key for key, _ in attributes]))

        def handle_data(self, data: str) -> None:
            self.texts.append(data)

    def of(text: str) -> Seen:
        return Seen(page(scores_of(2, dataset=text), CONFIG, 1, {text: text}, {text: {text: text}}, PICTURES))

    hostile, harmless = of(name), of("name")
    assert hostile.tags == harmless.tags
    assert hostile.texts.count(name) == harmless.texts.count("name") == 5
    assert f"ile on {name}" in hostile.texts
