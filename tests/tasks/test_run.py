import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import linear_video
from linear_video.common.errors import InputError
from linear_video.tasks import pictures, references
from linear_video.tasks import runner as module
from linear_video.tasks.ahead import GUESSES, Ahead
from linear_video.tasks.between import CALM
from linear_video.tasks.parts import to_frame, to_values
from linear_video.tasks.presenters import PRESENTERS
from linear_video.tasks.runner import LONGEST, file_name, run_all, variant
from linear_video.tasks.settings import PredictSettings
from linear_video.tasks.trained import NEEDS, TrainedModel
from tests.clips.footage_files import cut_off, decoded, luma, tree, write_array, write_images, write_video
from tests.processes import killed_everywhere, limited
from tests.tasks.small_models import save_model, waves
from tests.tasks.test_settings import SETTINGS

CONTEXT, HORIZON, FRAMES, HEIGHT, WIDTH, FPS = 4, 3, 14, 20, 24, 12.5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_model(root / "ile", actions=2)
    for name in ("dynamic_vae", "lds", "last_frame"):
        save_model(root / name, name)
    return root


def footage(frames: int = FRAMES) -> NDArray[np.uint8]:
    return waves(frames, HEIGHT, WIDTH)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "film.avi", footage(), fps=FPS)


def settings(task: str, video: Path | None, **changes: Any) -> PredictSettings:
    given = {"task": task, "video": None if video is None else str(video), "context": CONTEXT, "horizon": HORIZON}
    small = {"window": 10, "modes": 2, "futures": 5, "fit": "tile"}
    if task == "fill_in":
        small["missing"] = "5 7-8"
    return PredictSettings(**{**SETTINGS, **small, **given, **changes})


def run(
    models: Path,
    tmp_path: Path,
    task: str,
    video: Path | None,
    name: str = "ile",
    drawn: bool = False,
    **changes: Any,
) -> tuple[pd.DataFrame, Path]:
    """Rows of the results, and the folder of the first; pictures, which take most of the time, only if asked for."""
    chosen = settings(task, video, **changes)
    trained = linear_video.load(models / name, chosen.fit, chosen.context, "cpu", chosen.method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DPI", 60)
        for picture in () if drawn else ("strip", "compared", "surprise_plot", "modes_plot", "spread_plot"):
            patch.setattr(pictures, picture, lambda *_: Figure())
        rows = run_all(chosen, trained, tmp_path / "results", 3)
    return rows, Path(rows["folder"].iloc[0])


def write_actions(path: Path, frames: list[int], columns: tuple[str, ...] = ("frame", "x", "y")) -> Path:
    pd.DataFrame([[frame, 2.0, -1.0][: len(columns)] for frame in frames], columns=columns).to_csv(path, index=False)
    return path


def nothing_is_left(folder: Path, but: str | None = None) -> bool:
    """Whether there are no files, except those of one piece of footage; empty folders may remain."""
    return not [path for path in folder.rglob("*") if path.is_file() and but not in path.relative_to(folder).parts]


def extra(task: str, tmp_path: Path) -> dict[str, Any]:
    """Settings that a task needs beside footage."""
    return {"actions": str(write_actions(tmp_path / "actions.csv", [15]))} if task == "what_if" else {}


# --- what every task leaves -------------------------------------------------------------------------------------------

# Number of frames of the video, its width in frames' widths, rows of the table, and its columns.
LEAVES: dict[str, tuple[int, int, int, list[str]]] = {
    "extrapolate": (CONTEXT + HORIZON, 1, HORIZON, ["frame", "seconds"]),
    "hindcast": (CONTEXT + HORIZON, 1, HORIZON, ["frame", "seconds", "modes_left_out"]),
    "fill_in": (FRAMES, 1, 3, ["frame", "seconds"]),
    "retime": (2 * FRAMES - 1, 1, 2 * FRAMES - 1, ["frame", "time_in_footage", "seconds"]),
    "denoise": (FRAMES, 1, FRAMES, ["frame", "seconds", "change"]),
    "surprise": (0, 0, FRAMES, ["frame", "seconds", "likelihood_bits", "forecast_error", "frame_difference"]),
    "spectrum": (10, 3, 4, ["mode", "frequency_hz", "period_s", "half_life_s", "energy"]),
    "sample": (HORIZON, 4, HORIZON, ["lead", "seconds", "spread"]),
    "what_if": (CONTEXT + HORIZON, 2, HORIZON, ["frame", "difference"]),
}

TESTED = ("extrapolate", "fill_in", "retime", "denoise")  # with methods that are no models, on the footage itself


def test_every_task_is_tried() -> None:
    assert set(LEAVES) | {"fourier", "dmd", "magnify"} == set(PRESENTERS) == set(NEEDS)


@pytest.mark.parametrize("task", LEAVES)
def test_every_task_leaves_a_video_a_picture_a_table_and_facts(
    models: Path, tmp_path: Path, video: Path, task: str
) -> None:
    rows, folder = run(models, tmp_path, task, video, drawn=True, **extra(task, tmp_path))
    assert folder.parent == tmp_path / "results" / task / "film.avi"
    assert folder.name.startswith("ile.moving_symbols.")
    frames, widths, lines, columns = LEAVES[task]
    videos = (["video.webm"] if frames else []) + (["reference.webm"] if task in TESTED else [])
    backtest = ["backtest.csv"] if task in TESTED else []
    backtest += ["compared.png"] if task in ("extrapolate", "fill_in", "retime") else []
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["facts.json", "picture.png", "table.csv", *videos, *backtest]
    )
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns) == columns
    assert len(table) == lines
    for video_name in videos:
        seen = decoded(folder / video_name)
        assert seen.shape == (frames, HEIGHT, widths * WIDTH, 3)
        fps = cv2.VideoCapture(str(folder / video_name), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS)
        assert fps == pytest.approx(FPS, rel=1e-3)
    with Image.open(folder / "picture.png") as picture:
        assert picture.format == "PNG"
        picture.load()
        assert min(picture.size) > 100
        assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["footage"] == "film.avi"
    assert facts["fps"] == FPS
    assert facts["model"] == "ile"
    assert facts["seed"] == 3
    assert facts["settings"]["task"] == task
    assert facts["done"] == "frames of 24x20 cut into 3 x 3 tiles of 8x8, 3 colours one by one"
    assert len(rows) == 1
    if task != "hindcast":
        assert facts["frames"] == rows["frames"].item() == FRAMES
    assert rows["footage"].tolist() == ["film.avi"]
    assert rows["fps"].tolist() == [FPS]


def test_facts_of_hindcast_tell_how_many_frames_were_read(models: Path, tmp_path: Path, video: Path) -> None:
    rows, folder = run(models, tmp_path, "hindcast", video)
    assert json.loads((folder / "facts.json").read_text())["frames"] == CONTEXT
    assert rows["frames"].tolist() == [CONTEXT]


@pytest.mark.parametrize("name", ["dynamic_vae", "lds", "last_frame"])
@pytest.mark.parametrize("task", ["extrapolate", "surprise", "spectrum", "sample"])
def test_other_models_leave_as_much(models: Path, tmp_path: Path, video: Path, name: str, task: str) -> None:
    if name == "last_frame" and task in ("spectrum", "sample"):
        with pytest.raises(InputError, match=f"{task}: the model last_frame cannot do that"):
            run(models, tmp_path, task, video, name)
        assert not (tmp_path / "results").exists()
        return
    _, folder = run(models, tmp_path, task, video, name, drawn=task in ("surprise", "spectrum"))  # others are alike
    assert {"facts.json", "picture.png", "table.csv"} <= {path.name for path in folder.iterdir()}
    assert list(pd.read_csv(folder / "table.csv").columns) == LEAVES[task][3]


@pytest.mark.parametrize("task", ["fourier", "magnify"])
def test_what_oscillates_is_found_and_magnified(models: Path, tmp_path: Path, task: str) -> None:
    """A picture whose brightness swings by 4 grey levels at 2.5 Hz."""
    t = np.arange(100)
    swing = 4 * np.sin(2 * np.pi * 2.5 * t / FPS)[:, None, None, None]
    still = np.random.default_rng(0).uniform(60, 180, (1, HEIGHT, WIDTH, 3))
    video = tmp_path / "swing.npy"
    np.save(video, np.rint(still + swing).astype(np.uint8))
    changes: dict[str, Any] = {"fps": FPS, "band": "1.5-3.5", "magnification": 5.0}
    _, folder = run(models, tmp_path, task, video, drawn=True, **changes)
    table = pd.read_csv(folder / "table.csv")
    found = table["peak_hz" if task == "fourier" else "agreed_hz"]
    assert found.iloc[0] == pytest.approx(2.5, rel=0.02)
    if task == "magnify":
        for name in ("video.webm", "reference.webm"):
            level = decoded(folder / name).mean((1, 2, 3))[20:80]
            assert level.max() - level.min() == pytest.approx(2 * 5 * 4, rel=0.2)


def test_bags_of_modes_are_a_table_and_a_picture(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydmd")
    video = write_video(tmp_path / "film.avi", waves(60, HEIGHT, WIDTH), fps=FPS)
    _, folder = run(models, tmp_path, "dmd", video, "last_frame", drawn=True)
    assert sorted(path.name for path in folder.iterdir()) == ["facts.json", "picture.png", "table.csv"]
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns) == ["frequency_hz", "from_hz", "to_hz", "half_life_s", "amplitude"]
    assert 1 <= len(table) <= 2


def test_bags_of_modes_say_what_to_install(
    models: Path, tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydmd", None)
    with pytest.raises(InputError, match=r'film\.avi: the task dmd needs PyDMD: pip install "linear-video\[dmd\]"'):
        run(models, tmp_path, "dmd", video)
    assert nothing_is_left(tmp_path / "results")


def test_magnify_wants_a_band(models: Path, tmp_path: Path, video: Path) -> None:
    with pytest.raises(InputError, match=r"film\.avi: predict\.band names no frequencies"):
        run(models, tmp_path, "magnify", video)


# --- what is in it ----------------------------------------------------------------------------------------------------


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """PSNR of the luma, since the codec halves the resolution of colours."""
    return float(10 * np.log10(255**2 / np.square(luma(one) - luma(other)).mean()))


def trained_on(models: Path, name: str = "ile", method: str = "blend") -> TrainedModel:
    return linear_video.load(models / name, "tile", CONTEXT, "cpu", method)


def test_extrapolation_is_the_footage_and_then_framed_what_comes(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "extrapolate", video)
    seen = decoded(folder / "video.webm")
    assert psnr(seen[:CONTEXT], footage()[-CONTEXT:]) > 28
    expected = trained_on(models).extrapolate(footage(), HORIZON)
    assert psnr(seen[CONTEXT:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2]) > 25
    frame = seen[CONTEXT:, 0, 4:-4].astype(int).mean((0, 1))
    assert frame[0] > frame[2] + 60  # orange
    table = pd.read_csv(folder / "table.csv")
    assert table["frame"].tolist() == [14, 15, 16]
    np.testing.assert_allclose(table["seconds"], np.array([14, 15, 16]) / FPS)


COLUMNS = [f"{name}_{score}" for name in GUESSES for score in ("psnr", "ssim")]


@pytest.mark.parametrize("method", ["blend", "model"])
def test_windows_all_over_the_video_are_scored(models: Path, tmp_path: Path, video: Path, method: str) -> None:
    """The blend of a window has learned from earlier windows, and only from frames that were known by then."""
    rows, folder = run(models, tmp_path, "extrapolate", video, drawn=True, window_step=2, method=method)
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns[:5]) == ["frame", "seconds", "lead", "psnr", "ssim"]
    assert sorted(table.columns[5:]) == sorted(COLUMNS)
    assert table["frame"].tolist() == list(range(CONTEXT, FRAMES))
    assert table["lead"].tolist() == [1, 2] * 5
    assert decoded(folder / "video.webm").shape == (FRAMES - CONTEXT, HEIGHT, 2 * WIDTH, 3)
    trained, frames, starts = trained_on(models, method=method), footage(), range(CONTEXT, FRAMES, 2)
    ahead = Ahead(trained, HORIZON)
    guesses = {start: ahead.guesses(list(frames[:start])) for start in starts}
    given = {}
    for number in range(CONTEXT, FRAMES):
        if number in guesses:
            given[number] = ahead.given(guesses[number])
        for start in [start for start in starts if start <= number < start + HORIZON]:
            lead = number - start
            ahead.backtest.learn(lead + 1, guesses[start][lead], to_values(frames[number]))
    row: Any
    for row in table.itertuples():
        start, lead = row.frame - row.lead + 1, row.lead - 1
        truth = frames[row.frame]
        flow = references.optical_flow([to_values(frame) for frame in frames[start - 2 : start]], HORIZON)
        expected = {
            "psnr": given[start][lead],
            "last_frame_psnr": frames[start - 1],
            "optical_flow_psnr": to_frame(flow[lead]),
            "model_psnr": trained.model_ahead(frames[:start], HORIZON)[lead],
        }
        for name, frame in expected.items():
            assert getattr(row, name) == pytest.approx(peak_signal_noise_ratio(truth, frame), abs=1e-3), name
    for name in ("psnr", *(f"{guess}_psnr" for guess in GUESSES)):
        assert rows[name].item() == pytest.approx(table[name].mean())
    if method == "model":
        np.testing.assert_array_equal(table["psnr"], table["model_psnr"])


def test_windows_farther_apart_than_the_horizon_leave_gaps(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "extrapolate", video, window_step=5, horizon=2)
    table = pd.read_csv(folder / "table.csv")
    assert table["frame"].tolist() == [4, 5, 9, 10]
    assert table["lead"].tolist() == [1, 2, 1, 2]


def test_windows_without_a_frame_to_score_are_refused(models: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.avi", footage(CONTEXT))
    with pytest.raises(InputError, match=r"film\.avi"):
        run(models, tmp_path, "extrapolate", video, window_step=1)


def test_hindcast_comes_before_the_footage(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "hindcast", video)
    seen, trained = decoded(folder / "video.webm"), trained_on(models)
    assert psnr(seen[HORIZON:], footage()[:CONTEXT]) > 28
    assert psnr(seen[:HORIZON, 2:-2, 2:-2], trained.hindcast(footage(), HORIZON)[:, 2:-2, 2:-2]) > 25
    table = pd.read_csv(folder / "table.csv")
    assert table["frame"].tolist() == [-3, -2, -1]
    assert table["modes_left_out"].isna().all()


def test_modes_that_hindcast_leaves_out_are_named_for_each_frame(
    models: Path, tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last mode has the modulus 0.85, and 0.85^15 = 0.087."""
    caplog.set_level("INFO", "linear_video")
    _, folder = run(models, tmp_path, "hindcast", video, horizon=16)
    table = pd.read_csv(folder / "table.csv", dtype=str, keep_default_na=False)
    assert table["modes_left_out"].tolist() == ["3", "3", *[""] * 14]
    assert "are left out: 3 (half-lives of at most 4.3 frames)" in caplog.text


def test_dropped_frames_are_put_back_in_their_places(models: Path, tmp_path: Path) -> None:
    whole, dropped = footage(), [5, 9, 10]
    left = np.delete(whole, dropped, axis=0)
    video = write_video(tmp_path / "film.avi", left)
    _, folder = run(models, tmp_path, "fill_in", video, missing="2", dropped="5 9-10")
    seen = decoded(folder / "video.webm")
    assert len(seen) == FRAMES
    complete = whole.copy()
    complete[dropped] = 0
    expected = np.stack(list(trained_on(models).fill_in(complete, [2, *dropped])))
    assert psnr(seen, expected) > 28
    assert psnr(expected[dropped], whole[dropped]) > 20  # from the neighbours, not black
    assert pd.read_csv(folder / "table.csv")["frame"].tolist() == [2, 5, 9, 10]


def test_frames_to_fill_in_must_be_named_and_there(models: Path, tmp_path: Path, video: Path) -> None:
    with pytest.raises(InputError, match=r"film\.avi: predict\.missing and predict\.dropped name no frames"):
        run(models, tmp_path, "fill_in", video, missing="")
    too_late: list[dict[str, Any]] = [{"missing": "14"}, {"missing": "", "dropped": "99"}]
    for changes in too_late:
        with pytest.raises(InputError, match=r"film\.avi: missing names frame (14|99), but the footage has 14 frames"):
            run(models, tmp_path, "fill_in", video, **changes)
    assert nothing_is_left(tmp_path / "results")


@pytest.mark.parametrize(("playback", "fps"), [("slow", FPS), ("rate", 3 * FPS)])
def test_retimed_footage_is_slower_or_has_more_frames_a_second(
    models: Path, tmp_path: Path, video: Path, playback: str, fps: float
) -> None:
    _, folder = run(models, tmp_path, "retime", video, factor=3.0, playback=playback)
    seen = decoded(folder / "video.webm")
    assert len(seen) == 3 * (FRAMES - 1) + 1
    assert psnr(seen[::3], footage()) > 28
    found = cv2.VideoCapture(str(folder / "video.webm"), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS)
    assert found == pytest.approx(fps, rel=2e-3)
    np.testing.assert_allclose(pd.read_csv(folder / "table.csv")["time_in_footage"], np.arange(len(seen)) / 3)


def test_denoised_footage_tells_what_has_changed(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "denoise", video)
    denoised = np.stack(list(trained_on(models).denoise(footage())))
    assert psnr(decoded(folder / "video.webm"), denoised) > 28
    change = np.abs(denoised.astype(float) - footage()).mean((1, 2, 3)) / 255
    np.testing.assert_allclose(pd.read_csv(folder / "table.csv")["change"], change, atol=1e-6)


def test_alarms_are_raised_where_normal_footage_gives_none(models: Path, tmp_path: Path) -> None:
    strange = waves(40, HEIGHT, WIDTH)
    strange[25] = 255 - strange[25]
    video = write_video(tmp_path / "strange.avi", strange)
    normal = tmp_path / "normal"
    for phase in range(2):
        write_video(normal / f"{phase}.avi", waves(60, HEIGHT, WIDTH, phase=phase))
    changes: dict[str, Any] = {"normal": str(normal), "false_alarm_rate": 0.05}
    rows, folder = run(models, tmp_path, "surprise", video, drawn=True, **changes)
    table = pd.read_csv(folder / "table.csv")
    assert table["alarm"].iloc[25]
    assert not table["alarm"].iloc[: CONTEXT + HORIZON - 1].any()
    assert rows["alarms"].item() == table["alarm"].sum()
    rows, folder = run(models, tmp_path, "surprise", normal / "0.avi", **changes)
    assert rows["alarms"].item() <= 0.05 * 120
    surprises = trained_on(models).surprise(waves(60, HEIGHT, WIDTH), HORIZON)
    np.testing.assert_allclose(pd.read_csv(folder / "table.csv")["likelihood_bits"], surprises.likelihood, rtol=1e-4)


@pytest.mark.parametrize(("most", "warned"), [(30.0, False), (-30.0, True)])
def test_footage_that_is_much_less_likely_than_the_models_own_is_told(
    models: Path, tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture, most: float, warned: bool
) -> None:
    trained = linear_video.load(models / "ile", "tile", CONTEXT, "cpu")
    trained.config["training"] = {"ordinary": {"psnr": None, "bits_per_value": [most - 1, most]}}
    run_all(settings("surprise", video), trained, tmp_path / "results", 0)
    assert any("the model does not fit" in message for message in caplog.messages) == warned


def test_too_little_normal_footage_is_refused_before_any_work(models: Path, tmp_path: Path, video: Path) -> None:
    with pytest.raises(InputError, match=r"8 frames of normal footage.*false_alarm_rate of 0\.01; give at least"):
        run(models, tmp_path, "surprise", video, normal=str(video))
    assert not (tmp_path / "results").exists()


def test_footage_too_short_for_surprise_is_refused(models: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.avi", footage(CONTEXT + HORIZON - 1))
    with pytest.raises(InputError, match=r"film\.avi: the footage has too few frames"):
        run(models, tmp_path, "surprise", video)
    assert nothing_is_left(tmp_path / "results")


def test_futures_are_drawn_by_the_seed(models: Path, tmp_path: Path, video: Path) -> None:
    rows, folder = run(models, tmp_path, "sample", video, noise=2.0)
    futures = trained_on(models).sample(footage(), HORIZON, 5, 2.0, 3)
    spread = (futures / 255).std(axis=0).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(pd.read_csv(folder / "table.csv")["spread"], spread, atol=1e-4)
    assert rows["spread"].item() == pytest.approx(spread.mean(), abs=1e-4)


def test_actions_show_from_their_frame_on(models: Path, tmp_path: Path, video: Path) -> None:
    actions = write_actions(tmp_path / "actions.csv", [2, 15, 99])  # of frames long past, to come, and too late
    _, folder = run(models, tmp_path, "what_if", video, actions=str(actions))
    table = pd.read_csv(folder / "table.csv")
    assert table["frame"].tolist() == [14, 15, 16]
    assert table["difference"].iloc[0] == 0
    assert (table["difference"].iloc[1:] > 0.001).all()
    known = np.zeros((CONTEXT + HORIZON, 2))
    known[CONTEXT + 1] = 2.0, -1.0
    trained = trained_on(models)
    pair = [trained.what_if(footage(), HORIZON, given).astype(float) for given in (known, 0 * known)]
    np.testing.assert_allclose(table["difference"], np.abs(pair[0] - pair[1]).mean((1, 2, 3)) / 255, atol=1e-6)


@pytest.mark.parametrize(
    "content",
    ["", "frame,x\n1,2\n", "x,y,frame\n1,2,3\n", "frame,x,y\n1,a,2\n", "frame,x,y\n1,,2\n", "frame,x,y,z\n1,2,3,4\n"],
)
def test_files_that_hold_no_actions_are_named(models: Path, tmp_path: Path, video: Path, content: str) -> None:
    path = tmp_path / "actions.csv"
    path.write_text(content)
    with pytest.raises(
        InputError, match=r"film\.avi: .*actions\.csv (must have a column frame and 2 more|cannot be read)"
    ):
        run(models, tmp_path, "what_if", video, actions=str(path))
    assert nothing_is_left(tmp_path / "results")


def test_what_if_without_actions_says_what_is_missing(models: Path, tmp_path: Path, video: Path) -> None:
    with pytest.raises(InputError, match=r"predict\.actions names no file of actions"):
        run(models, tmp_path, "what_if", video)
    with pytest.raises(InputError, match=r"nowhere\.csv cannot be read as a CSV file of actions"):
        run(models, tmp_path, "what_if", video, actions=str(tmp_path / "nowhere.csv"))
    with pytest.raises(InputError, match="the model knows no actions"):
        run(models, tmp_path, "what_if", video, "lds", **extra("what_if", tmp_path))


def test_the_strongest_modes_stand_beside_the_footage(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "spectrum", video)
    seen = decoded(folder / "video.webm")
    assert psnr(seen[:, :, :WIDTH], footage()[:10]) > 25
    table = pd.read_csv(folder / "table.csv")
    modes = trained_on(models).spectrum(footage(), FPS, 10, 2)
    np.testing.assert_allclose(table["energy"], modes.table["energy"], rtol=1e-5)
    np.testing.assert_allclose(table["frequency_hz"], modes.table["frequency_hz"], rtol=1e-6)


# --- how good it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TESTED)
def test_methods_are_compared_on_the_footage_itself(models: Path, tmp_path: Path, video: Path, task: str) -> None:
    rows, folder = run(models, tmp_path, task, video)
    table = pd.read_csv(folder / "backtest.csv")
    assert list(table.columns[:2]) == ["distance", "method"]
    assert table["psnr"].between(5, 100).all()
    methods = {
        "extrapolate": {*GUESSES, "blend"},
        "denoise": {"untouched", "blend", "blur", "non_local_means"},
    }
    between = {"model", "optical_flow", "fine_flow", "mean", "cubic", "blend"}
    known = set(table["method"]) | ({"cubic"} if task == "fill_in" else set())  # which needs more frames than these
    assert known == methods.get(task, between)
    for method, group in table.groupby("method"):
        assert rows[f"backtest_{method}_psnr"].item() == pytest.approx(group["psnr"].mean())
    distances = {"extrapolate": {1, 2, 3}, "fill_in": {1, 2}, "retime": {CALM}, "denoise": {0}}
    assert set(table["distance"]) == distances[task]


@pytest.mark.parametrize("task", TESTED)
def test_a_model_alone_is_compared_with_nothing(models: Path, tmp_path: Path, video: Path, task: str) -> None:
    rows, folder = run(models, tmp_path, task, video, method="model")
    assert not (folder / "backtest.csv").exists()
    assert not [name for name in rows if str(name).startswith("backtest")]


@pytest.mark.parametrize("task", ["fill_in", "retime", "denoise"])
def test_footage_is_mended_whatever_the_model(models: Path, tmp_path: Path, video: Path, task: str) -> None:
    """A model that cannot make frames between others is not used; alone, it is refused."""
    _, folder = run(models, tmp_path, task, video, "lds")
    assert "model" not in set(pd.read_csv(folder / "backtest.csv")["method"])
    with pytest.raises(InputError, match=f"{task}: the model lds cannot do that"):
        run(models, tmp_path, task, video, "lds", method="model")


def test_a_model_that_does_not_help_is_told(
    models: Path, tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that repeats the last frame knows nothing about these waves."""
    caplog.set_level("WARNING", "linear_video")
    run(models, tmp_path, "extrapolate", video, "last_frame")
    assert "film.avi" in caplog.text
    assert "the model alone is worse here than" in caplog.text


def test_the_reference_is_what_one_would_have_without_a_model(models: Path, tmp_path: Path, video: Path) -> None:
    frames, inner = footage(), (slice(None), slice(2, -2), slice(2, -2))
    _, folder = run(models, tmp_path, "extrapolate", video)
    seen = decoded(folder / "reference.webm")
    assert psnr(seen[:CONTEXT], frames[-CONTEXT:]) > 28
    assert psnr(seen[CONTEXT:][inner], frames[[-1] * HORIZON][inner]) > 25
    _, folder = run(models, tmp_path, "fill_in", video, missing="5")
    seen = decoded(folder / "reference.webm")
    mean = np.rint((frames[4].astype(float) + frames[6]) / 2).astype(np.uint8)
    assert psnr(seen[[5]][inner], mean[None][inner]) > 25
    assert psnr(np.delete(seen, 5, 0), np.delete(frames, 5, 0)) > 28
    _, folder = run(models, tmp_path, "retime", video)
    seen = decoded(folder / "reference.webm")
    assert psnr(seen[::2], frames) > 28
    means = np.rint((frames[:-1].astype(float) + frames[1:]) / 2).astype(np.uint8)
    assert psnr(seen[1::2][inner], means[inner]) > 25
    _, folder = run(models, tmp_path, "denoise", video)
    blurred = np.stack([to_frame(references.blurred(to_values(frame), 1.0)) for frame in frames])
    assert psnr(decoded(folder / "reference.webm"), blurred) > 28


# --- where it lies ----------------------------------------------------------------------------------------------------


def test_names_of_folders_are_taken_by_every_file_system() -> None:
    assert file_name("wörter und ?.avi") == "wörter_und__.avi"
    assert file_name("../deep/two.avi") == "_deep_two.avi"
    assert file_name("...") == file_name("") == "footage"
    long = [file_name("ä" * 200 + end) for end in ("a.avi", "b.avi")]
    assert len({*long}) == 2
    assert all(len(name.encode()) <= LONGEST for name in long)


def test_a_variant_names_the_model_and_what_differs_from_the_defaults() -> None:
    plain = PredictSettings(model="data/06_models/ile/balls", video="film.avi", task="retime")
    assert variant(plain) == "ile.balls"
    assert variant(PredictSettings(model="runs:/0123abc/model", task="retime", video="b.avi")) == "0123abc.model"
    assert variant(PredictSettings(model="models:/fountain/1")) == "fountain.1"
    other = PredictSettings(model="ile/balls", task="fill_in", missing="7 40-45", method="cubic")
    assert variant(other) in ("ile.balls.method-cubic.missing-7+40-45", "ile.balls.method-cubic.missing-7_40-45")
    settings_of_all = [
        plain,
        other,
        PredictSettings(model="ile/balls", task="fill_in", missing="7", method="cubic"),
    ]
    assert len({variant(one) for one in settings_of_all}) == 3


def test_lines_make_frames_smaller_first(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "retime", video, lines=10, factor=1.0)
    assert decoded(folder / "video.webm").shape == (FRAMES, 10, 12, 3)
    assert "lines-10" in folder.name
    means = footage().reshape(FRAMES, 10, 2, 12, 2, 3).astype(float).mean((2, 4))
    assert psnr(decoded(folder / "video.webm"), np.rint(means).astype(np.uint8)) > 25
    _, folder = run(models, tmp_path, "retime", video, lines=HEIGHT, factor=1.0)
    assert psnr(decoded(folder / "video.webm"), footage()) > 28


@pytest.mark.parametrize("task", ["retime", "what_if"])
def test_a_run_that_fails_leaves_no_folder_of_the_footage(models: Path, tmp_path: Path, task: str) -> None:
    path = cut_off(write_video(tmp_path / "film.avi", waves(80, HEIGHT, WIDTH)), 0.6)
    with pytest.raises(InputError, match="cut off"):
        run(models, tmp_path, task, path, **extra(task, tmp_path))
    assert list((tmp_path / "results" / task).iterdir()) == []


# --- footage of every kind --------------------------------------------------------------------------------------------


def test_images_have_the_frame_rate_that_is_given_or_25(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "linear_video")
    images = write_images(tmp_path / "walk", footage())
    rows, folder = run(models, tmp_path, "denoise", images)
    assert rows["fps"].item() == 25
    assert "walk does not give its frame rate; 25 frames per second are assumed" in caplog.text
    assert psnr(decoded(folder / "video.webm"), np.stack(list(trained_on(models).denoise(footage())))) > 28
    rows, _ = run(models, tmp_path, "denoise", images, fps=7.0)
    assert rows["fps"].item() == 7


def test_a_frame_rate_that_is_given_counts_more_than_the_videos(models: Path, tmp_path: Path, video: Path) -> None:
    rows, folder = run(models, tmp_path, "extrapolate", video, fps=50.0)
    assert rows["fps"].item() == 50
    found = cv2.VideoCapture(str(folder / "video.webm"), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS)
    assert found == pytest.approx(50, rel=1e-3)
    assert pd.read_csv(folder / "table.csv")["seconds"].iloc[0] == pytest.approx(14 / 50)


@pytest.mark.parametrize("fit", ["resize", "tile"])
def test_colour_is_kept_by_a_model_of_grey_frames(models: Path, tmp_path: Path, fit: str) -> None:
    red = np.full((FRAMES, HEIGHT, WIDTH, 3), [200, 90, 30], np.uint8)
    video = write_video(tmp_path / "red.avi", red)
    _, folder = run(models, tmp_path, "extrapolate", video, "last_frame", fit=fit)
    np.testing.assert_allclose(decoded(folder / "video.webm")[-1, 5:-5, 5:-5].mean((0, 1)), [200, 90, 30], atol=8)


def test_odd_sizes_are_kept_but_for_what_the_codec_needs(models: Path, tmp_path: Path) -> None:
    path = write_array(tmp_path / "odd.npy", waves(FRAMES, 19, 23))
    _, folder = run(models, tmp_path, "denoise", path)
    assert decoded(folder / "video.webm").shape == (FRAMES, 20, 24, 3)


@pytest.mark.parametrize("task", LEAVES)
def test_grey_footage_is_as_good(models: Path, tmp_path: Path, task: str) -> None:
    grey = write_array(tmp_path / "grey.npy", footage()[..., 0])
    one_of_each_kind = task in ("extrapolate", "surprise", "spectrum", "sample")
    _, folder = run(models, tmp_path, task, grey, drawn=one_of_each_kind, **extra(task, tmp_path))
    frames, widths, lines, columns = LEAVES[task]
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns) == columns
    assert len(table) == lines
    assert json.loads((folder / "facts.json").read_text())["done"] == "frames of 24x20 cut into 3 x 3 tiles of 8x8"
    if frames:
        assert decoded(folder / "video.webm").shape == (frames, HEIGHT, widths * WIDTH, 3)


def test_each_video_of_a_folder_has_results_of_its_own(models: Path, tmp_path: Path) -> None:
    for name in ("one.avi", "deep/two.avi", "wörter und ?.avi"):
        write_video(tmp_path / "films" / name, footage())
    rows, _ = run(models, tmp_path, "extrapolate", tmp_path / "films", "lds")
    assert sorted(rows["footage"]) == ["deep/two.avi", "one.avi", "wörter und ?.avi"]
    folders = [Path(folder) for folder in rows["folder"]]
    assert {folder.parent.name for folder in folders} == {"one.avi", "deep_two.avi", "wörter_und__.avi"}
    for folder in folders:
        assert folder.parents[1] == tmp_path / "results" / "extrapolate"
        assert (folder / "video.webm").is_file()


def test_videos_of_similar_names_do_not_overwrite_each_other(models: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "films" / "a b.avi", footage())
    write_video(tmp_path / "films" / "a" / "b.avi", footage())
    rows, _ = run(models, tmp_path, "extrapolate", tmp_path / "films", "lds")
    assert rows["folder"].nunique() == 2


def test_results_of_an_earlier_run_are_replaced(models: Path, tmp_path: Path, video: Path) -> None:
    _, folder = run(models, tmp_path, "extrapolate", video)
    (folder / "notes.txt").write_text("of the first run")
    write_video(video, footage(FRAMES - 1), fps=FPS)
    _, again = run(models, tmp_path, "extrapolate", video)
    assert again == folder
    assert not (folder / "notes.txt").exists()
    assert pd.read_csv(folder / "table.csv")["frame"].iloc[0] == FRAMES - 1
    assert list(folder.parent.iterdir()) == [folder]
    assert [path.name for path in folder.parents[1].iterdir()] == ["film.avi"]


def test_results_of_other_settings_lie_beside_each_other(models: Path, tmp_path: Path, video: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"horizon": 2}, {"fit": "resize"}, {"method": "last_frame"}]
    folders = [run(models, tmp_path, "extrapolate", video, **change)[1] for change in changes]
    assert len(set(folders)) == 4
    assert set(folders[0].parent.iterdir()) == set(folders)
    assert [len(pd.read_csv(folder / "table.csv")) for folder in folders] == [HORIZON, 2, HORIZON, HORIZON]


@pytest.mark.parametrize("task", ["extrapolate", "denoise", "surprise"])
def test_results_are_the_same_each_time(models: Path, tmp_path: Path, video: Path, task: str) -> None:
    one, two = (run(models, tmp_path / str(k), task, video)[1] for k in range(2))
    assert (one / "table.csv").read_text() == (two / "table.csv").read_text()


# --- what is no footage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [task for task in LEAVES if task != "hindcast"])
def test_a_video_that_breaks_off_leaves_nothing(models: Path, tmp_path: Path, task: str) -> None:
    path = cut_off(write_video(tmp_path / "film.avi", waves(80, HEIGHT, WIDTH)), 0.6)
    with pytest.raises(InputError, match=r"film\.avi: .*cut off or damaged: 80 frames are promised"):
        run(models, tmp_path, task, path, **extra(task, tmp_path))
    assert nothing_is_left(tmp_path / "results")


def test_what_was_there_before_stays_if_the_new_footage_breaks_off(models: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.avi", waves(80, HEIGHT, WIDTH))
    run(models, tmp_path, "denoise", path)
    before = tree(tmp_path / "results")
    cut_off(path, 0.6)
    with pytest.raises(InputError, match="cut off"):
        run(models, tmp_path, "denoise", path)
    assert tree(tmp_path / "results") == before


def test_what_was_finished_before_a_broken_video_stays(models: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "films" / "1.avi", footage())
    cut_off(write_video(tmp_path / "films" / "2.avi", waves(80, HEIGHT, WIDTH)), 0.6)
    with pytest.raises(InputError, match=r"2\.avi: "):
        run(models, tmp_path, "denoise", tmp_path / "films")
    assert nothing_is_left(tmp_path / "results" / "denoise", but="1.avi")
    assert len(list((tmp_path / "results" / "denoise" / "1.avi").glob("*/table.csv"))) == 1


def test_messages_name_the_footage_once(models: Path, tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "film.avi", waves(80, HEIGHT, WIDTH)), 0.6)
    with pytest.raises(InputError) as caught:
        run(models, tmp_path, "denoise", path)
    assert str(caught.value).count("film.avi") == 1


def wrong_footage(kind: str, tmp_path: Path) -> tuple[Path, str]:
    """A path, and the expected message."""
    path = tmp_path / {"text": "film.mp4", "sound": "film.wav", "array": "film.npy"}.get(kind, "film")
    if kind == "nothing":
        return path, r"film does not exist"
    if kind == "sound":
        path.write_bytes(b"RIFF")
        return path, r"film\.wav cannot be read as footage"
    if kind == "folder":
        path.mkdir()
        return path, r"holds no videos, images or arrays"
    if kind == "array":
        return write_array(path, np.full((FRAMES, 8, 8), np.nan)), r"film\.npy: holds values of \[nan, nan\]"
    path.write_text("this is no video")
    return path, r"film\.mp4: its first bytes are not those of the format MP4"


@pytest.mark.parametrize("kind", ["nothing", "sound", "folder", "array", "text"])
def test_what_is_no_footage_is_named_and_leaves_nothing(models: Path, tmp_path: Path, kind: str) -> None:
    path, words = wrong_footage(kind, tmp_path)
    with pytest.raises(InputError, match=words):
        run(models, tmp_path, "denoise", path)
    assert tree(tmp_path / "results") == {} if (tmp_path / "results").exists() else True


@pytest.mark.parametrize("task", [task for task in LEAVES if task != "denoise"])
def test_a_single_frame_is_refused_by_every_task(models: Path, tmp_path: Path, task: str) -> None:
    path = write_images(tmp_path / "picture", footage(1))
    words = {"fill_in": "no frame of the footage is known"}
    words |= dict.fromkeys(("extrapolate", "retime"), "the footage has 1 frame, but this needs at least [24]")
    with pytest.raises(InputError, match=rf"picture: {words.get(task, '(the footage has 1 frame, .*|.*context)')}"):
        run(models, tmp_path, task, path, **extra(task, tmp_path) | ({"missing": "0"} if task == "fill_in" else {}))
    assert nothing_is_left(tmp_path / "results")


def test_a_single_frame_is_denoised_as_it_is(models: Path, tmp_path: Path) -> None:
    _, folder = run(models, tmp_path, "denoise", write_images(tmp_path / "picture", footage(1)))
    assert psnr(decoded(folder / "video.webm"), footage(1)) > 28
    assert pd.read_csv(folder / "table.csv")["change"].tolist() == [0]
    assert not (folder / "backtest.csv").exists()  # of so few frames


def test_images_of_different_sizes_are_refused(models: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "walk", footage(5))
    write_images(tmp_path / "walk", waves(5, 22, WIDTH), name="later{}")
    with pytest.raises(InputError, match=r"walk: frame 5 is \(22, 24, 3\), the ones before \(20, 24, 3\)"):
        run(models, tmp_path, "denoise", tmp_path / "walk")


def test_no_video_is_named_first(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"predict\.video names no footage"):
        run(models, tmp_path, "denoise", None)


# --- killed, and without room ----------------------------------------------------------------------------------------


def without_times(folder: Path) -> dict[str, bytes | None]:
    """Files by name, except those whose bytes differ between runs."""
    return {name: content for name, content in tree(folder).items() if not name.endswith(".webm")}


def do(models: Path, tmp_path: Path, video: Path, frames: int) -> Path:
    write_video(video, footage(frames), fps=FPS)
    return run(models, tmp_path, "extrapolate", video, "last_frame")[1]


@pytest.mark.slow
def test_killed_at_any_change_a_task_leaves_the_old_or_the_new(models: Path, tmp_path: Path, video: Path) -> None:
    place = do(models, tmp_path, video, 14)
    new = without_times(place)
    do(models, tmp_path, video, 10)
    old = without_times(place)
    assert new["facts.json"] != old["facts.json"]
    seen = []
    for _ in killed_everywhere(partial(do, models, tmp_path, video, 14), tmp_path / "results"):
        found = without_times(place)
        assert found in (old, new)
        assert len(decoded(place / "video.webm")) == CONTEXT + HORIZON
        seen.append(found)
    assert seen[0] == old
    assert without_times(place) == new
    assert {path.name for path in place.parent.iterdir()} == {place.name}


@pytest.mark.parametrize("size", [100, 600])
def test_a_task_without_room_is_one_message_and_leaves_the_old(
    models: Path, tmp_path: Path, video: Path, size: int
) -> None:
    _, place = run(models, tmp_path, "extrapolate", video, "last_frame")
    before = tree(tmp_path)
    said = limited(partial(run, models, tmp_path, "extrapolate", video, "last_frame"), size)
    assert said.startswith(f"NoRoomError: {place} cannot be written: it would be larger than a file may be here")
    assert "\n" not in said
    assert tree(tmp_path) == before


@pytest.mark.parametrize("content", [None, "", "{}", "[]", "no JSON", "[" * 100_000, '{"frames": "5"}'])
def test_a_result_whose_facts_are_none_is_told_with_what_to_do(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "facts.json").write_text(content)
    with pytest.raises(InputError, match=f"{tmp_path}/facts.json is missing, or holds no facts of a result; do the"):
        module.read_facts(tmp_path)
