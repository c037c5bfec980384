"""Benchmarks are commands, not tests; here they run on tiny inputs, so that they still work when they are needed."""

import importlib
import json
import os
import re
import signal
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from linear_video.clips.digit_cycles import DigitCyclesSettings, count, labelled_pictures
from linear_video.common.errors import InputError
from linear_video.models.checkpoint import save_checkpoint
from linear_video.models.registry import build, describe

DOCS = Path(__file__).parents[1] / "docs"
PEERS = ("normflows", "freia", "nflows")


def run(repository: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_throughput_is_measured_on_a_cpu_too(repository: Path) -> None:
    assert run(repository, "benchmarks/throughput.py", "--tiny", "--steps=1").count("| tiny |") == 5


@pytest.mark.parametrize("name", PEERS)
def test_other_libraries_build_the_same_flow(repository: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """They have the same number of weights, apart from FrEIA's odd halves, and a density where ours has one."""
    pytest.importorskip("FrEIA" if name == "freia" else name)
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import peers

    topology = peers.Topology(frame_shape=(1, 16, 16), blocks=2, couplings=4, hidden_channels=8)
    torch.manual_seed(0)
    ours, other = peers.ours(topology), getattr(peers, name)(topology)
    assert sum(p.numel() for p in other.parameters()) == pytest.approx(
        sum(p.numel() for p in ours.parameters()), rel=0.02
    )
    frames = torch.rand(3, 1, 16, 16)
    assert other(frames).shape == ours(frames).shape == (3,)
    if name == "freia":  # which starts as the identity, too
        torch.testing.assert_close(other(frames), ours(frames))


@pytest.mark.slow
def test_tasks_are_measured_and_examples_written(repository: Path, tmp_path: Path) -> None:
    settings = {"state_dimension": 4, "blocks": 1, "couplings": 1, "hidden_channels": 2}
    for name, actions in (("pushed", 2), ("plain", 0)):
        model = build("ile", (1, 16, 16), {**settings, "actions": actions})
        save_checkpoint(tmp_path / name, model, describe("ile", model))
    few = ["--clips=4", "--split=validation", f"--model={tmp_path / 'plain'}"]
    printed = run(repository, "benchmarks/tasks.py", *few)  # what_if needs models of its own
    assert printed.count("### Fill in 3 of 15 frames") == 3
    for title in ("Retime x2", "Hindcast 3 frames", "Planted events", "Alarms within 5 frames"):
        assert title in printed
    models = (f"--actions-model={tmp_path / 'pushed'}", f"--plain-model={tmp_path / 'plain'}")
    printed = run(repository, "benchmarks/tasks.py", *few, *models, "--only", "what_if", "spectrum", "--steps=4")
    assert "ile trained without actions" in printed
    assert "Strongest modes that turn" in printed
    run(repository, "benchmarks/tasks.py", f"--examples={tmp_path / 'examples'}")
    shapes = {path.stem: np.load(path).shape for path in (tmp_path / "examples").glob("*.npy")}
    assert shapes == {
        "bounce": (60, 16, 16),
        "ordinary": (10, 120, 16, 16),
        "events": (120, 16, 16),
        "oscillating": (800, 16, 16),
        "before_a_push": (10, 16, 16),
    }


@pytest.mark.slow
def test_tasks_are_measured_on_footage(repository: Path, tmp_path: Path) -> None:
    across = np.arange(48)[:, None] + 2 * np.arange(40)
    frames = np.stack([127 + 100 * np.sin((across + t) / 5) for t in range(40)])
    np.save(tmp_path / "waves.npy", np.rint(frames).astype(np.uint8))
    model = build("last_frame", (1, 16, 16), {})
    save_checkpoint(tmp_path / "model", model, describe("last_frame", model))
    table = tmp_path / "table.csv"
    printed = run(
        repository, "benchmarks/footage_tasks.py", str(tmp_path / "waves.npy"), f"--model={tmp_path / 'model'}",
        f"--table={table}",
    )  # fmt: skip
    assert "blend, dB above the best reference of each video:\n\n| measure " in printed
    found = pd.read_csv(table).set_index(["measure", "method"])["psnr"]
    for measure in ("frame 1", "frame 5", "fill in 3", "retime x2", "denoise"):
        assert found[measure, "blend"] > 20
    assert found["frame 1", "model"] == pytest.approx(found["frame 1", "last_frame"], abs=1e-6)
    row = next(line for line in printed.splitlines() if line.startswith("| last_frame "))
    assert row.split("|")[2].strip().startswith(f"{found['frame 1', 'last_frame']:.1f} / ")


def test_letters_are_drawn_for_the_dataset_that_counts(repository: Path, tmp_path: Path) -> None:
    run(repository, "benchmarks/letters.py", str(tmp_path), "--images=80")
    cycle = "ABCDEFGHIJKLMNOPQRST"
    settings = DigitCyclesSettings(cycle=cycle, symbols="folder", symbols_folder=str(tmp_path), frames=20)
    pictures, labels = labelled_pictures(settings, "train")
    assert sorted(set(labels)) == list(string.ascii_uppercase)
    assert (pictures.max(axis=(1, 2, 3)) > 150).all()  # none is empty
    assert set(count(settings, "test", 0).table["label"].str[:1]) == set(cycle)


def test_the_fuzzer_tells_what_failed(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    fuzz: Any = importlib.import_module("fuzz")

    def says(message: str) -> Any:
        def reader(random: Random) -> None:
            raise InputError(message)

        return fuzz.outcome_of(reader, Random(0)).kind

    assert fuzz.outcome_of(lambda random: None, Random(0)).kind == "accepted"
    assert says("a line") == "refused"
    assert says("two\nlines") == says("") == says("x" * 10_000) == "failed"
    with pytest.raises(ZeroDivisionError):
        fuzz.outcome_of(lambda random: 1 // 0, Random(0))
    worker = fuzz.Watched("idx", 0, tmp_path)
    assert worker.read(3).kind in ("accepted", "refused")
    monkeypatch.setattr(fuzz, "MOST_BYTES", 1)
    assert worker.read(3).kind == "failed"
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0)
    os.kill(worker.process.pid, signal.SIGSTOP)  # else its answer may be there already
    hung = worker.read(4)
    assert (hung.kind, hung.message) == ("failed", "took more than 0 seconds")
    os.kill(worker.process.pid, signal.SIGKILL)
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 30)
    assert "its process died with -9" in worker.read(5).message
    monkeypatch.setattr(fuzz, "MOST_BYTES", 2**31)
    assert worker.read(6).kind in ("accepted", "refused")
    worker.end()


def test_broken_inputs_follow_from_the_seed_and_differ(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    broken: Any = importlib.import_module("broken")
    content = bytes(range(256))
    made = [broken.broken_bytes(content, Random(seed), [b"other"]) for seed in range(200)]
    assert made == [broken.broken_bytes(content, Random(seed), [b"other"]) for seed in range(200)]
    assert len(set(made)) > 150
    assert made.count(content) < 5


@pytest.mark.slow
def test_broken_inputs_of_all_kinds_are_accepted_or_refused_in_one_line(repository: Path) -> None:
    printed = run(repository, "benchmarks/fuzz.py", "--inputs=400", "--seed=7").splitlines()
    assert len(printed) == 11
    for line in printed[1:]:
        _, inputs, accepted, refused, failed, *_ = line.split()
        assert int(failed) == 0
        assert int(inputs) == int(accepted) + int(refused) > 10
        assert int(refused) > 0


@pytest.mark.parametrize("workers", [1, 3, 50])
@pytest.mark.parametrize("seconds", [0.01, 0.4, 7.0])
def test_growth_is_bounded_by_what_is_busiest_and_by_all_in_turn(
    repository: Path, monkeypatch: pytest.MonkeyPatch, workers: int, seconds: float
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    growth: Any = importlib.import_module("ingestion_growth")
    videos = growth.Videos("", seconds, 1e6)
    free = (workers, 600, videos, growth.Costs(0, 0, 0), 1e30)
    assert growth.simulate(*free) == pytest.approx(600 * seconds / workers, rel=0.05)  # but for the last tasks
    for costs, bandwidth in ((growth.Costs(0.5, 0, 0), 1e30), (growth.Costs(0, 0.5, 0.1), 1e30), (free[3], 1e6)):
        given = (workers, 600, videos, costs, bandwidth)
        bounds, last = growth.bounds(*given), seconds * growth.videos_of_a_task(*given[:3])
        assert max(bounds.values()) * 0.999 <= growth.simulate(*given) <= sum(bounds.values()) + last


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a benchmark by its name; what it sets in this process is undone."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)


def test_the_page_of_performance_has_the_numbers_of_its_file(benchmark: Callable[[str], Any]) -> None:
    made = benchmark("page").rendered("performance")
    assert made == (DOCS / "performance.md").read_text(), "run python benchmarks/performance.py --only"


def test_no_figure_of_performance_is_typed() -> None:
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", (DOCS / "performance.md.jinja").read_text(), flags=re.DOTALL)
    assert set(re.findall(r"\w*\d\w*", text)) == {"float32", "float64"}


def test_a_slow_phase_of_the_machine_changes_no_ratio(
    benchmark: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring, clock, paces = benchmark("measuring"), [0.0], iter([9, 9, 1, 1, 1, 1, 5, 5])  # of each step in turn

    def step(seconds: float) -> Callable[[], None]:
        return lambda: clock.__setitem__(0, clock[0] + next(paces) * seconds)

    monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])
    quick, slow = measuring.in_turns({"quick": step(0.25), "slow": step(0.5)}, reference="quick", rounds=3)
    assert (quick["name"], quick["ms"], quick["ratio"]) == ("quick", 250, 1)
    assert (slow["ms"], slow["ratio"], slow["low"], slow["high"]) == (500, 2, 2, 2)


def test_a_measurement_goes_on_where_it_was_interrupted(
    benchmark: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    performance, measured = benchmark("performance"), list[str]()
    commit, broken = ["a" * 40], [True]

    def part(name: str) -> Callable[[bool], dict[str, Any]]:
        def measure(tiny: bool) -> dict[str, Any]:
            measured.append(name)
            if name == "second" and broken[0]:
                raise KeyboardInterrupt
            return {"value": 1 / 3}

        return measure

    for name in ("first", "second"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(measure=part(name)))
    monkeypatch.setattr(performance, "PARTS", ("first", "second"))
    monkeypatch.setattr(performance, "code_commit", lambda: commit[0])

    def run_again(*arguments: str) -> list[str]:
        measured.clear()
        monkeypatch.setattr(sys, "argv", ["performance.py", f"--tiny={tmp_path}", *arguments])
        performance.main()
        return measured

    with pytest.raises(KeyboardInterrupt):
        run_again()
    assert not (tmp_path / "performance.md").exists()
    broken[0] = False
    assert run_again() == ["second"]
    assert run_again() == []
    assert run_again("--only", "first") == ["first"]
    assert run_again("--only") == []
    commit[0] = "b" * 40
    assert run_again() == ["first", "second"]
    commit[0] += "-dirty"
    assert run_again() == run_again() == ["first", "second"]
    parts = json.loads((tmp_path / "performance.json").read_text())["parts"]
    assert parts["first"]["value"] == 0.333333
    assert f"| `first` | {'b' * 7}, changed |" in (tmp_path / "performance.md").read_text()


def test_the_commit_of_a_measurement_is_the_last_one_that_changed_the_code(
    benchmark: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measuring = benchmark("measuring")
    monkeypatch.setattr(measuring, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert measuring.code_commit() == "unknown"

    def git(*command: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *who, *command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init")
    for name in ("src", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        git("add", name)
        git("commit", "--message", name)
    code = git("rev-parse", "HEAD~1").strip()
    assert measuring.code_commit() == code
    assert measuring.code_commit("HEAD~1") == code
    assert measuring.code_commit("HEAD~5") == "unknown"
    (tmp_path / "docs/file").write_text("changed")
    assert measuring.code_commit() == code
    (tmp_path / "src/another").touch()
    assert measuring.code_commit() == f"{code}-dirty"


def test_the_quality_that_is_told_is_that_of_the_weights_that_are_kept(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    quality, random = benchmark("quality"), np.random.default_rng(0)
    frames = random.integers(0, 256, (12, 15, 1, 16, 16), np.uint8)
    np.save(tmp_path / "train.npy", frames)
    np.save(tmp_path / "validation.npy", frames[:3])
    here, there = Pipe()
    for going_on in (True, True, False):
        here.send(going_on)
    quality.train(there, "convolutional", tmp_path, "test")
    told = [here.recv() for _ in range(3)]
    assert not here.poll()
    assert [step for step, _, _ in told] == [10, 20, 30]
    assert 0 < told[0][1] < told[1][1] < told[2][1]
    model = quality.prepared("convolutional", frames, "test")[0].eval()
    kept = torch.load(tmp_path / "convolutional/last.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("model."): values for name, values in kept.items()})
    predicted = model.predict(torch.from_numpy(frames[:3, :10]).float() / 255, 1)[:, 0].numpy()
    errors = np.square(predicted - frames[:3, 10] / 255).mean(axis=(1, 2, 3))
    assert told[-1][2] == pytest.approx(-10 * np.log10(errors).mean(), abs=1e-3)


@pytest.mark.slow
def test_performance_is_measured(repository: Path, tmp_path: Path) -> None:
    parts = ("predict", "ssim")
    run(repository, "benchmarks/performance.py", f"--tiny={tmp_path}", "--only", *parts)
    numbers = json.loads((tmp_path / "performance.json").read_text())
    assert set(numbers["parts"]) == set(parts)
    text = (tmp_path / "performance.md").read_text()
    for row in (*numbers["parts"]["predict"]["models"], *numbers["parts"]["predict"]["tasks"]):
        assert row["frames_per_second"] > 0
        assert f"| {row['name']} | " in text
