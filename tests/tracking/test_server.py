"""The project's server, and what it shares with MLflow's: answers to requests that cannot be used."""

import json
import re
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

import linear_video
from linear_video.common.errors import InputError
from linear_video.common.limits import SERVER_BYTES, SERVER_SECONDS
from linear_video.tasks.trained import TrainedModel
from linear_video.tracking.requests import answer, estimated_bytes, estimated_seconds, read_request
from linear_video.tracking.server import application
from linear_video.tracking.serving import Forecast
from tests.tasks.small_models import save_model, waves
from tests.tracking.asking import ask, request

FRAMES = waves(12, 8, 8, 1).tolist()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return linear_video.load(save_model(tmp_path_factory.mktemp("model"), "lds"))


def replaced(value: Any) -> list[Any]:
    """The frames, with another value in place of one."""
    changed: list[Any] = json.loads(json.dumps(FRAMES))
    changed[3][2][1][0] = value
    return changed


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "no horizon": (request(FRAMES, horizon=None), "horizon must be a whole number from 1 to 1000, not None"),
    "true": (request(FRAMES, horizon=True), "horizon must be a whole number.*not True"),
    "text": (request(FRAMES, horizon="5"), "horizon must be a whole number"),
    "a fraction": (request(FRAMES, horizon=2.0), "horizon must be a whole number.*not 2.0"),
    "nothing": (request(FRAMES, horizon=0), "horizon must be"),
    "backwards": (request(FRAMES, horizon=-1), "horizon must be"),
    "too far": (request(FRAMES, horizon=1001), "horizon must be"),
    "huge": (request(FRAMES, horizon=10**300), "horizon must be"),
    "values of true": (request(replaced(True)), "whole numbers from 0 to 255"),
    "values of text": (request(replaced("7")), "whole numbers from 0 to 255"),
    "values of fractions": (request(replaced(7.0)), "whole numbers from 0 to 255"),
    "values of null": (request(replaced(None)), "whole numbers from 0 to 255"),
    "NaN": (request(replaced(float("nan"))), "NaN is not a number"),
    "infinity": (request(replaced(float("inf"))), "Infinity is not a number"),
    "negative": (request(replaced(-1)), "whole numbers from 0 to 255"),
    "more than a byte": (request(replaced(256)), "whole numbers from 0 to 255"),
    "five dimensions": (request([FRAMES]), "four lists deep"),
    "three dimensions": (request(FRAMES[0]), "as lists of lists of one length"),
    "ragged": (request([*FRAMES, FRAMES[0][:3]]), "of one length"),
    "a list too many": (request(replaced([1])), "whole numbers from 0 to 255"),
    "no frames": (request([]), "none empty"),
    "empty frames": (request([[]] * 12), "none empty"),
    "a number": (request(5), "inputs must be frames"),
    "an object": (request({"a": 1}), "inputs must be frames"),
    "too few frames": (request(FRAMES[:4]), "4 frames, but this needs at least 10"),
    "colours of two": (request(np.zeros((12, 8, 8, 2), int).tolist()), "with 1 or 3 channels"),
    "malformed": (b'{"inputs": [', "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "no Unicode": (b"\xff\xfe", "not valid JSON"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "deep frames": (b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}", "inputs must be|four lists"),
    "many digits": (b'{"inputs": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "a list": (b"[]", "the request must be"),
    "other entries": (b'{"instances": [[[[1]]]]}', "the request must be"),
    "a parameter too many": (request(FRAMES, horizon=2, seed=1), "params must be"),
    "params of a list": (b'{"inputs": [[[[1]]]], "params": []}', "params must be"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_status_400_and_one_line_and_the_next_request_is_answered(
    trained: TrainedModel, case: str
) -> None:
    body, message = UNUSABLE[case]
    server = application(trained)
    status, text = ask(server, body)
    assert status == 400
    told = json.loads(text)["error"]
    assert "\n" not in told
    assert "Traceback" not in told
    assert len(told) < 400
    assert re.search(message, told), told
    assert ask(server, request(FRAMES, horizon=1))[0] == 200


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": ""}, {"content-type": "text/csv"}, {"content-type": "x" * 9999}]
)
def test_a_request_that_is_not_said_to_be_json_is_refused(trained: TrainedModel, headers: dict[str, str]) -> None:
    status, text = ask(application(trained), request(FRAMES), headers)
    assert status == 400
    assert "Content-Type: application/json" in json.loads(text)["error"]


def test_the_answer_is_what_the_model_gives(trained: TrainedModel) -> None:
    status, text = ask(
        application(trained), request(FRAMES, horizon=3), {"content-type": "application/json; charset=utf-8"}
    )
    assert status == 200
    expected = trained.extrapolate(np.array(FRAMES, np.uint8), 3)
    np.testing.assert_array_equal(json.loads(text)["predictions"], expected)
    assert len(json.loads(ask(application(trained), request(FRAMES))[1])["predictions"]) == 5


def test_a_request_that_takes_too_much_memory_is_refused_before_anything_is_computed(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("it was computed")

    monkeypatch.setattr(TrainedModel, "extrapolate", never)
    monkeypatch.setenv(SERVER_SECONDS, "100000")
    frames = np.zeros((10, 500, 500, 1), np.uint8)
    with pytest.raises(
        InputError, match=r"10 frames of 500x500 and a horizon of 1000 take about 2\d\.\d GiB, but 2\.0"
    ):
        answer(trained, frames, 1000)
    served = Forecast()
    served.trained = trained
    with pytest.raises(mlflow.MlflowException, match="take about") as refused:
        served.predict(None, frames, {"horizon": 1000})
    assert refused.value.get_http_status_code() == 400


def test_the_time_that_is_allowed_is_what_the_variable_says(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"take about [\d,]+ seconds, .* but 60 are allowed"):
        answer(trained, np.zeros((2000, 8, 8, 1), np.uint8), 600)
    frames = np.array(FRAMES, np.uint8)
    assert 0 < estimated_seconds(trained, frames.shape, 10) < 1
    one, other = (estimated_seconds(trained, (12, 8, 8, 1), horizon) for horizon in (10, 20))
    assert other > 2 * one
    monkeypatch.setenv(SERVER_SECONDS, "1")
    with pytest.raises(InputError, match="start the server with a larger LINEAR_VIDEO_SERVER_SECONDS"):
        answer(trained, frames, 500)
    assert answer(trained, frames, 2).shape == (2, 8, 8, 1)


def test_the_memory_that_is_allowed_is_what_the_variable_says(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.array(FRAMES, np.uint8)
    needed = estimated_bytes(trained, frames.shape, 2)
    monkeypatch.setenv(SERVER_BYTES, str(needed))
    assert answer(trained, frames, 2).shape == (2, 8, 8, 1)
    monkeypatch.setenv(SERVER_BYTES, str(needed - 1))
    with pytest.raises(InputError, match="start the server with a larger LINEAR_VIDEO_SERVER_BYTES"):
        answer(trained, frames, 2)
    monkeypatch.setenv(SERVER_BYTES, "2000")
    status, text = ask(application(trained), request(FRAMES), piece=10)
    assert (status, json.loads(text)) == (
        400,
        {"error": "the request has more than 100 bytes; give fewer or smaller frames."},
    )


@pytest.mark.parametrize("params", [{"horizon": None}, {"horizon": True}, {"horizon": 0}, {"horizon": "5"}])
def test_a_model_that_mlflow_serves_refuses_what_is_no_horizon(trained: TrainedModel, params: dict[str, Any]) -> None:
    served = Forecast()
    served.trained = trained
    with pytest.raises(mlflow.MlflowException, match="horizon must be a whole number") as refused:
        served.predict(None, np.array(FRAMES, np.uint8), params)
    assert refused.value.get_http_status_code() == 400


def test_frames_are_read_as_they_were_written() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), np.uint8)
    found, horizon = read_request(request(frames.tolist(), horizon=7))
    np.testing.assert_array_equal(found, frames)
    assert horizon == 7


def test_loading_a_model_that_mlflow_keeps_runs_no_code_of_its_folder(tmp_path: Path) -> None:
    trained = linear_video.load(save_model(tmp_path / "served" / "artifacts" / "checkpoint"))
    harm = f"open({str(tmp_path / 'harm')!r}, 'w').close()\n"
    folder = tmp_path / "served"
    for name in ("serving.py", "code/serving.py", "code/linear_video.py", "linear_video/__init__.py", "conftest.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(harm)
    pickled = b"cbuiltins\nexec\n(V" + harm.strip().encode() + b"\ntR."
    for name in ("python_model.pkl", "artifacts/python_model.pkl", "artifacts/checkpoint/pytorch_model.bin"):
        (folder / name).write_bytes(pickled)
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: serving\n    code: code\n    python_model: python_model.pkl\n"
        "    model_code_path: serving.py\n    env: !!python/object/apply:os.system ['touch harm']\n"
    )
    for source in (folder, str(folder), folder.as_uri()):
        again = linear_video.load(source)
        np.testing.assert_array_equal(
            again.extrapolate(waves(12, 8, 8, 1), 2), trained.extrapolate(waves(12, 8, 8, 1), 2)
        )
    assert not (tmp_path / "harm").exists()
    assert not list(tmp_path.rglob("harm"))
