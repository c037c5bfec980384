"""The comparison against scores recomputed one by one."""

import re
from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from linear_video.evaluation.comparison import compare, fingerprint
from linear_video.evaluation.figures import comparison_strip, horizon_plot
from linear_video.evaluation.report import (
    OPENSTL_LABEL,
    QUOTED_NOTE,
    QUOTED_OPENSTL_NOTE,
    markdown,
    metric_tables,
    models_table,
    openstl_tables,
    page,
)
from linear_video.evaluation.scores import judge_as_openstl, sharpness

CLIPS, CONTEXT, HORIZON = 4, 3, 2


def frames(length: int, seed: int, clips: int = CLIPS, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((clips, length, channels, 9, 8))


def mean_and_half(values: np.ndarray) -> tuple[float, float]:
    interval = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return values.mean(), (interval[1] - interval[0]) / 2


@pytest.fixture
def table() -> pd.DataFrame:
    return compare({"ile": frames(HORIZON, 3), "lds": frames(HORIZON, 4)}, frames(CONTEXT, 1), frames(HORIZON, 2))


def test_scores_and_paired_gains_are_those_of_scikit_image_and_scipy(table: pd.DataFrame) -> None:
    context, truth, shown = frames(CONTEXT, 1), frames(HORIZON, 2), frames(HORIZON, 3)
    for k in range(HORIZON):
        row = table[(table["model"] == "ile") & (table["frame"] == k + 1)].iloc[0]
        pairs = [(truth[n, k, 0], shown[n, k, 0], context[n, -1, 0]) for n in range(CLIPS)]
        for name, score in (("psnr", peak_signal_noise_ratio), ("ssim", structural_similarity)):
            ours = np.array([score(t, s, data_range=1) for t, s, _ in pairs])
            gain = ours - np.array([score(t, last, data_range=1) for t, _, last in pairs])
            for label, values in ((name, ours), (f"{name}_gain", gain)):
                assert (row[label], row[f"{label}_ci95"]) == pytest.approx(mean_and_half(values))


def test_the_last_frame_comes_first_and_gains_nothing(table: pd.DataFrame) -> None:
    assert list(dict.fromkeys(table["model"])) == ["last_frame", "ile", "lds"]
    last = table[table["model"] == "last_frame"]
    assert list(last["frame"]) == [1, 2]
    assert (last[["psnr_gain", "ssim_gain", "psnr_gain_ci95", "ssim_gain_ci95"]] == 0).all(axis=None)


@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_is_mathieus_measure(channels: int) -> None:
    truth, shown = frames(2, 5, 2, channels), frames(2, 6, 2, channels)
    found = sharpness(shown, truth)
    for clip, frame in np.ndindex(2, 2):
        total = count = 0
        for c, i, j in np.ndindex(channels, 9, 8):
            if i and j:
                slopes = [
                    abs(y[c, i, j] - y[c, i - 1, j]) + abs(y[c, i, j] - y[c, i, j - 1])
                    for y in (truth[clip, frame], shown[clip, frame])
                ]
                total, count = total + abs(slopes[0] - slopes[1]), count + 1
        assert found[clip, frame] == pytest.approx(10 * np.log10(count / total))


def test_a_frame_as_sharp_as_the_truth_has_a_finite_sharpness() -> None:
    truth = frames(2, 5)
    assert (sharpness(truth, truth) == 100).all()
    assert (sharpness(1 - truth, truth) == 100).all()


def test_clips_are_told_from_others_by_shape_and_content() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 1, 5, 6), dtype=np.uint8)
    assert fingerprint(clips) == fingerprint(clips.copy()) == fingerprint(np.asfortranarray(clips))
    changed = clips.copy()
    changed[2, 3, 0, 4, 5] ^= 1
    others = [changed, clips[:2], clips.reshape(3, 4, 1, 6, 5), clips[::-1]]
    assert len({fingerprint(other) for other in [clips, *others]}) == 5


# --- the page --------------------------------------------------------------------------------------------------------

MODELS = pd.DataFrame(
    [
        {"model": "ile", "parameters": 12345, "training_minutes": 5.5, "frames_per_second": 900.0, "commit": "a" * 40},
        {"model": "lds", "parameters": 10, "training_minutes": 0.0, "frames_per_second": 2000.0, "commit": "b" * 40},
    ]
)


def test_tables_show_every_number_once_with_its_interval(table: pd.DataFrame) -> None:
    psnr = metric_tables(table)["PSNR / dB"]
    row = table[(table["model"] == "ile") & (table["frame"] == 2)].iloc[0]
    shown = psnr.set_index("PSNR / dB").loc["ile"]
    assert shown["frame 2"] == f"{row['psnr']:.1f} ± {row['psnr_ci95']:.1f}"
    assert shown["gain, frame 2"] == f"{row['psnr_gain']:+.1f} ± {row['psnr_gain_ci95']:.1f}"
    assert psnr.set_index("PSNR / dB").loc["last frame", "gain, frame 1"] == ""
    facts = models_table(table, MODELS).set_index("model")
    assert facts.loc["ile", "parameters"] == "12,345"
    assert facts.loc["last frame", "parameters"] == ""


def test_the_page_is_whole_in_itself_and_says_what_is_quoted(table: pd.DataFrame) -> None:
    tables = [*metric_tables(table).values(), models_table(table, MODELS)]
    rows: dict[str, Any] = {
        str(name): of_model.to_dict("list") for name, of_model in table.groupby("model", sort=False)
    }
    strip = comparison_strip(frames(CONTEXT, 1), frames(HORIZON, 2), {"ile": frames(HORIZON, 3)}, "clips")
    html = page("Models <compared>", ["A note."], tables, {"curves": horizon_plot(rows), "a strip": strip})
    assert "Models &lt;compared&gt;" in html
    assert set(re.findall(r'(?:src|href)="([a-z]+:[^,"]*)', html)) == {"data:image/png;base64"}
    assert len(re.findall(r'src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}"', html)) == 2
    text = markdown("Models compared", ["A note."], tables)
    for value in tables[0].to_numpy().ravel():
        assert value in html
        assert value in text
    assert QUOTED_NOTE in html
    assert QUOTED_NOTE in text


def test_openstls_scores_stand_beside_its_published_ones_if_they_are_asked_for(table: pd.DataFrame) -> None:
    context, truth, shown = frames(CONTEXT, 1), frames(HORIZON, 2), frames(HORIZON, 3)
    found = openstl_tables(compare({"dynamic_vae": shown}, context, truth, openstl=True))
    rows = {row[OPENSTL_LABEL]: row for row in found[0].to_dict("records")}
    assert list(rows) == ["last frame", "dynamic vae"]
    means = {metric: values.mean() for metric, values in judge_as_openstl(shown, truth).items()}
    columns = {"MSE": ("mse", 1), "MAE": ("mae", 1), "SSIM": ("ssim", 4), "PSNR / dB": ("psnr", 2)}
    for column, (metric, digits) in columns.items():
        assert rows["dynamic vae"][column] == f"{means[metric]:.{digits}f}"
    for text in (markdown("Models", [], found, True), unescape(page("Models", [], found, {}, True))):
        assert QUOTED_OPENSTL_NOTE in text
        assert re.search(r"TAU\W.*44\.7M\W.*24\.60\W.*71\.93\W.*0\.9454\W.*23\.19", text, re.DOTALL)
        assert rows["dynamic vae"]["SSIM"] in text
    assert openstl_tables(table) == []
    assert QUOTED_OPENSTL_NOTE not in markdown("Models", [], []) + unescape(page("Models", [], [], {}))


def test_a_strip_shows_context_truth_and_models_below_each_other() -> None:
    context, truth = frames(7, 1, 3), frames(HORIZON, 2, 3)
    shown = {"ile": frames(HORIZON, 3, 3), "last_frame": frames(HORIZON, 4, 3)}
    figure = comparison_strip(context, truth, shown, "clips", ["one", "two", "three"])
    grid = np.array(figure.axes).reshape(4, 3)
    assert [axis.get_ylabel() for axis in grid[:, 0]] == ["context", "truth", "ile", "last frame"]
    assert [axis.get_title() for axis in grid[0]] == ["one", "two", "three"]
    for line, wanted in zip(grid, (context[:, -HORIZON:], truth, *shown.values()), strict=True):
        for axis, clip in zip(line, wanted, strict=True):
            picture = axis.images[0].get_array()
            np.testing.assert_allclose(np.delete(picture, 8, axis=1), np.hstack(list(clip[:, 0])))
