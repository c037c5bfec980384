"""Fixtures that the tests of the pipelines share."""

from pathlib import Path

import pytest

from tests.pipelines.project import copy_of_project, succeeds


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the default experiment has run once, at test size."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    succeeds(folder, "run", "--env=test", "--pipelines=ile")
    return folder
