"""A short form of the torture: one kill of each kind, two sizes of a small disk. Pairs are in test_runs."""

import os
from pathlib import Path

import pytest

from tests import torture
from tests.pipelines.project import DATA

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", torture.KINDS)
def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path, kind: str) -> None:
    assert torture.kills(tmp_path, kind, 1, seed=len(kind)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_one_message_and_no_loss(tmp_path: Path) -> None:
    try:
        assert torture.disk(tmp_path, "ile", 2) == []
    except RuntimeError as error:
        if "cannot be mounted" not in str(error):
            raise
        pytest.skip(str(error))


def test_differences_are_seen(tmp_path: Path) -> None:
    """Without this, no test above could fail."""
    one, other = {"a": "1", "b": "2"}, {"b": "3", "c": "4"}
    assert torture.difference(one, other) == "a (left over), b (other), c (missing)"
    assert torture.difference(one, dict(one)) == ""
    file = tmp_path / DATA / "facts.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"psnr": 1, "seconds": 2}')
    before = torture.fingerprint(tmp_path)
    file.write_text('{"psnr": 1, "seconds": 3}')
    assert torture.fingerprint(tmp_path) == before
    file.write_text('{"psnr": 2, "seconds": 3}')
    assert torture.fingerprint(tmp_path) != before


def test_times_of_a_page_are_not_seen_and_its_words_are(tmp_path: Path) -> None:
    """A slow machine's page may say "999 frames per second" and a fast one's "1,000", or minutes for seconds."""
    file = tmp_path / DATA / "report.html"
    file.parent.mkdir(parents=True)
    text = (
        "<dl><dt>seed</dt><dd>{}</dd><dt>time of training</dt><dd>{}</dd><dt>speed of prediction</dt>"
        "<dd>{} frames per second</dd><dt>page made at commit</dt><dd>{}</dd></dl><td>{}</td>"
    )
    file.write_text(text.format(1, "59.9 s", "999", "a1b2", "9.9"))
    before = torture.fingerprint(tmp_path)
    file.write_text(text.format(1, "1.0 min", "1,000", "a1b2-dirty", "1,000.0"))
    assert torture.fingerprint(tmp_path) == before
    file.write_text(text.format(2, "1.0 min", "1,000", "a1b2-dirty", "1,000.0"))
    assert torture.fingerprint(tmp_path) != before
