"""The page of results says what its files of figures say, and nothing else."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from linear_video.sweeps.study import Study, read_study
from tests.pipelines.project import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import results
import results_page

FIGURES = sorted((ROOT / "docs/results").glob("*.json"))
NAMES = [table.name for table in results.tables()]
STUDIES = sorted({table.study for table in results.tables() if table.study})


def row(model: str, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"model": model, "trials": 3}
    for name, mean in values.items():
        column = name.replace("__", ".")
        found |= {column: mean, f"{column} least": mean - 1, f"{column} greatest": mean + 1}
    return found


def test_the_page_is_what_the_figures_say(tmp_path: Path) -> None:
    results.render(ROOT / "docs/results", tmp_path / "results.md")
    assert (tmp_path / "results.md").read_text() == (ROOT / "docs/results.md").read_text(), (
        "docs/results.md is not what docs/results and its template say: python benchmarks/results.py --render"
    )


def test_a_figure_that_changes_changes_the_page(tmp_path: Path) -> None:
    figures = {"command": "x", "commit": "c", "machine": "m", "seeds": [0], "minutes": 1.0}
    pages = []
    for psnr in (31.4159, 31.6):
        rows = [row("ile", psnr__0=psnr, last_frame__psnr__0=9.0)]
        (tmp_path / "default.json").write_text(json.dumps(figures | {"rows": rows}))
        results.render(tmp_path, tmp_path / "results.md")
        pages.append((tmp_path / "results.md").read_text())
    assert "**31.4** (30.4 to 32.4)" in pages[0]
    assert "| last frame |" in pages[0]
    assert pages[0] != pages[1]


def test_the_template_has_no_measured_figure() -> None:
    text = results_page.TEMPLATE.read_text()
    text = re.sub(r"\{\{.*?\}\}|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)  # calls, commands and links
    assert re.findall(r"\d+\.\d+|\d+ ?(?:dB|%|minutes|hours|bits per)", text) == []


def test_scripts_are_there_and_so_are_the_tables_whose_models_they_take() -> None:
    for table in results.tables():
        if table.script:
            assert (ROOT / "benchmarks" / table.script).is_file()
            before = NAMES[: NAMES.index(table.name)]
            assert all(Path(model).parts[2] in before for model in table.models)


def test_every_table_that_is_asked_for_has_a_study() -> None:
    asked = re.findall(r"(?:table|made|printed)\((.*?)\)", results_page.TEMPLATE.read_text(), re.DOTALL)
    mentioned = {name for call in asked for name in re.findall(r'"([a-z_]+)"', call) if name in NAMES}
    for page in ROOT.glob("docs/**/*.md"):
        mentioned |= set(re.findall(r"^::figures (\w+)$", page.read_text(), re.MULTILINE))
    assert mentioned == set(NAMES)
    assert {file.stem for file in FIGURES} <= set(NAMES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_table_is_a_report_of_test_clips_or_of_validation_clips(name: str) -> None:
    study = read_study(results.STUDIES / f"{name}.yml")
    evaluation = study.parameters.get("evaluation", {})
    assert study.report != (evaluation.get("held_out") == "validation")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_at_test_size_is_a_study(name: str) -> None:
    small = results.at_test_size(yaml.safe_load((results.STUDIES / f"{name}.yml").read_text()))
    study = Study.model_validate(small)
    assert len(list(study.grid())) <= results.QUICK_CASES


def test_bold_is_the_best_of_a_column() -> None:
    rows = [row("ile", psnr__0=30.0, bits_per_value=4.0), row("lds", psnr__0=31.0, bits_per_value=5.0)]
    page = results_page.Page({"a": {"rows": rows}}, {})
    ile, lds = page.table(["a"], ["psnr.0", "bits_per_value"], references=[]).splitlines()[2:]
    assert ["**" in cell for cell in ile.split("|")[2:4]] == [False, True]
    assert ["**" in cell for cell in lds.split("|")[2:4]] == [True, False]


def test_cases_of_digits_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(
        json.dumps({"search": {"a.b": ["012"]}, "commit": "c", "seeds": [], "minutes": 1})
    )
    (tmp_path / "table.csv").write_text("case,a.b,model,trials,psnr.0\n0123,012,ile,1,3.5\n")
    figures = results.figures_of(tmp_path, "command")
    assert figures["rows"] == [{"case": "0123", "a.b": "012", "model": "ile", "trials": 1, "psnr.0": 3.5}]
    page = results_page.Page({"a": figures}, {})
    assert "| ile, 0123, 012 " in page.table(["a"], ["psnr.0"], references=[])


def test_the_page_tells_of_how_many_commits_its_figures_are() -> None:
    figures = {name: {"commit": f"{name}23456789abcdef"} for name in ("a", "b")}
    several = {"a": {"commit": ", ".join(found["commit"] for found in figures.values())}}
    commands = dict.fromkeys(("a", "b", "c"), "command")
    assert results_page.Page(figures, commands).measured().startswith("2 of 3 tables have been measured")
    assert results_page.Page(figures, commands).measured().endswith("at 2 commits.")
    assert results_page.Page(several, commands).measured().endswith("at 2 commits.")
    assert results_page.Page({"a": figures["a"]}, commands).measured().endswith("at commit a23456789a.")


def test_what_has_not_run_is_said(tmp_path: Path) -> None:
    results.render(tmp_path, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert "*Not measured yet on this version.*" in page
    assert "`kedro sweep benchmarks/studies/default.yml` has not been run yet on this version." in page


def test_a_table_without_its_data_or_its_gpu_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(results, "make", lambda table, data, workers: ran.append(table.name))
    monkeypatch.setattr(results, "render", lambda figures, page: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "mnist").mkdir()
    monkeypatch.setattr(sys, "argv", ["results.py", "--data", str(tmp_path), "--only", "best", "golf", "paper_size"])
    results.main()
    assert ran == ["best"]
    said = capsys.readouterr().out
    assert "golf: passed over, since it needs ucf_sports" in said
    assert "paper_size: passed over, since it needs a GPU" in said
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    results.main()
    assert ran == ["best", "best", "paper_size"]
