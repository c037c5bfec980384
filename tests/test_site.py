"""The hooks of the documentation site."""

import importlib.util
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from tests.pipelines.project import ROOT


@dataclass(frozen=True)
class Base:
    """What both have.

    Attributes:
        steps: of the training,
            in all.
    """

    steps: int = 3


@dataclass(frozen=True)
class Settings(Base):
    """Settings.

    Attributes:
        kind: ``"a"`` | ``"b"``.
        sizes: two numbers.
        device: None for any.
    """

    kind: str = "a"
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    device: str | None = None


@dataclass(frozen=True)
class Undocumented(Base):
    """Settings of which one is not explained."""

    rate: float = 0.1


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    specification = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_table_has_each_setting_with_its_default_and_meaning(hooks: ModuleType) -> None:
    assert hooks.settings_table(f"{__name__}:Settings").splitlines() == [
        "| setting | default | meaning |",
        "| --- | --- | --- |",
        "| `steps` | `3` | of the training, in all. |",
        '| `kind` | `a` | `"a"` \\| `"b"`. |',
        "| `sizes` | `[1, 2]` | two numbers. |",
        "| `device` | `null` | None for any. |",
    ]


def test_a_setting_without_a_meaning_stops_the_build(hooks: ModuleType) -> None:
    with pytest.raises(ValueError, match="does not say what rate means"):
        hooks.settings_table(f"{__name__}:Undocumented")


def test_the_reference_has_every_settings_class(hooks: ModuleType) -> None:
    from linear_video.clips.registry import KINDS
    from linear_video.models.registry import MODELS, model_class

    shown = set(hooks.SETTINGS.findall((ROOT / "docs/reference/parameters.md").read_text()))
    kinds = set(KINDS.values())
    models = {model_class(name).settings_class for name in MODELS} - {model_class("last_frame").settings_class}
    assert kinds | {f"{kind.__module__}:{kind.__name__}" for kind in models} <= shown
