"""Files of parameters are checked before they are read."""

import tracemalloc
from pathlib import Path

import pytest

from linear_video.common.errors import InputError
from linear_video.tracking.environments import ProjectConfigLoader
from linear_video.tracking.yaml_files import check_yaml

# Eight lists, each of nine times the one before.
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 8)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB.encode(), "has more than 100,000 values, those of its aliases included"),
        (b"a: " + b"[" * 3000, "nested more than 50 deep"),
        (b"".join(b" " * i + b"a:\n" for i in range(200)), "nested more than 50 deep"),
        (b"a: \xff", "not UTF-8 text .* at byte 3"),
        (b"# " + b"x" * 2**20, "has more than 1,048,576 bytes"),
    ],
)
def test_what_would_take_much_more_memory_than_it_has_bytes_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "base" / "parameters.yml"
    path.parent.mkdir()
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"parameters\.yml {message}|parameters\.yml is {message}"):
        check_yaml(path)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()
    (tmp_path / "local").mkdir()
    with pytest.raises(InputError, match=r"parameters\.yml"):
        ProjectConfigLoader(str(tmp_path), base_env="base", default_run_env="local")


def test_aliases_are_counted_with_what_they_stand_for(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yml"
    wide = ", ".join(["x"] * 9000)
    path.write_text(f"a: &a [{wide}]\nb: [{', '.join(['*a'] * 10)}]\n")  # 99,000 and some
    check_yaml(path)
    path.write_text(f"a: &a [{wide}]\nb: [{', '.join(['*a'] * 11)}]\n")
    with pytest.raises(InputError, match="has more than 100,000 values"):
        check_yaml(path)


def test_a_device_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "parameters.yml").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        check_yaml(tmp_path / "parameters.yml")


def test_files_of_this_project_and_what_has_a_wrong_syntax_pass(repository: Path, tmp_path: Path) -> None:
    paths = sorted((repository / "conf").glob("*/*.yml"))
    assert len(paths) > 10
    for path in paths:
        check_yaml(path)
    (tmp_path / "wrong.yml").write_text("a: [1\nb: 2")
    check_yaml(tmp_path / "wrong.yml")
