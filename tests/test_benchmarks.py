"""Benchmarks are commands, not tests; here they run on next to nothing, so that they still run when they are needed."""

import json
import subprocess
import sys

import pytest
import torch

PEERS = ("normflows", "freia", "nflows")


def run(repository, *command):
    done = subprocess.run([sys.executable, *command], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_papers_table_is_made_without_kedro(repository, tmp_path):
    printed = run(
        repository, "benchmarks/paper.py", "--env=test", f"--folder={tmp_path}", "ile.moving_symbols.training.steps=20"
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert f"| last frame | {scores['last_frame']['psnr'][0]:.2f}" in printed
    files = {"config.json", "model.safetensors", "history.csv", "table.md", "horizon.png", "filmstrip.png"}
    assert files <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_throughput_is_measured_on_a_cpu_too(repository):
    assert run(repository, "benchmarks/throughput.py", "--tiny", "--steps=1").count("| tiny |") == 5


@pytest.mark.parametrize("name", PEERS)
def test_other_libraries_build_the_same_flow(repository, monkeypatch, name):
    """As many weights, apart from FrEIA's odd halves, and a density where ours has one."""
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
