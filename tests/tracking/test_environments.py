"""Where an environment keeps what it makes."""

import pytest

from linear_video.tracking.environments import data_folder


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, None, "data"),
        (None, "local", "data"),
        (None, "test", "data/test"),
        ("", "test", "data/test"),
        ("/shared/place", "base", "/shared/place"),
        ("/shared/place", "test", "/shared/place/test"),
    ],
)
def test_the_folder_of_data_is_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: str | None, expected: str
) -> None:
    monkeypatch.delenv("LINEAR_VIDEO_DATA", raising=False)
    if given is not None:
        monkeypatch.setenv("LINEAR_VIDEO_DATA", given)
    assert data_folder(environment) == expected
