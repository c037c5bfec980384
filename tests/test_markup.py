"""Names that contain markup, in Markdown and in HTML: they are rendered as plain text."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linear_video.common.markup import escaped, markdown_table
from linear_video.evaluation.comparison import compare
from linear_video.evaluation.figures import sheet
from linear_video.evaluation.report import markdown, metric_tables, models_table, page
from linear_video.tasks import report
from tests.tasks.small_models import waves

HOSTILE = (
    "a|b",
    "`code`",
    "<script>alert(1)</script>",
    "two\nlines\r\nof | text",
    "[x](javascript:alert(1))",
    "![x](http://example.org/pixel.png)",
    "</td></tr></table><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "&lt;b&gt; &amp;",
    "\\| \\\\| \\",
    "**bold** _slanted_ ~~gone~~ a_b_c",
    "# title",
    "{{ 7 * 7 }}",
)


def cells(line: str) -> list[str]:
    """The cells of a line of a table, as GitHub's Markdown divides it: at each bar without a backslash before it."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def rendered(text: str) -> str:
    """What a reader sees of Markdown in which nothing is active."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))


class Page(HTMLParser):
    """The elements of a page, their attributes, and the text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.shown, self.attributes = list[str](), list[str](), list[tuple[str, str | None]]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_markdown_is_seen_as_it_is_in_one_line(name: str) -> None:
    text = escaped(name)
    assert rendered(text) == " ".join(name.split())
    assert not re.search(r"[<>\n]", text)


@given(st.text())
def test_any_text_is_seen_as_it_is(text: str) -> None:
    assert rendered(escaped(text)) == " ".join(text.split())
    assert not re.search(r"[<>\n]", escaped(text))
    for found in re.finditer(r"[`*\[\]|~]", escaped(text)):  # each has an odd number of backslashes before it
        before = escaped(text)[: found.start()]
        assert (len(before) - len(before.rstrip("\\"))) % 2 == 1


def test_a_table_keeps_its_cells_whatever_stands_in_them() -> None:
    table = pd.DataFrame({"name": list(HOSTILE), "a|column": range(len(HOSTILE)), "`c`": 0.5})
    lines = markdown_table(table).splitlines()
    assert len(lines) == 2 + len(HOSTILE)
    assert all(len(cells(line)) == 3 for line in lines)
    assert [rendered(cell) for cell in cells(lines[0])] == ["name", "a|column", "`c`"]
    for line, name, number in zip(lines[2:], HOSTILE, range(len(HOSTILE)), strict=True):
        assert [rendered(cell) for cell in cells(line)] == [" ".join(name.split()), str(number), "0.5"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_comparison_shows_a_name_and_nothing_more(name: str) -> None:
    frames = np.random.default_rng(0).random((3, 2, 1, 8, 8))
    scores = compare({name: frames}, frames, frames[::-1])
    facts = {"model": name, "parameters": 1, "training_minutes": 1.0, "frames_per_second": 1.0, "commit": name}
    tables = [*metric_tables(scores).values(), models_table(scores, pd.DataFrame([facts]))]
    figure, _ = sheet(1, 1, (1, 1), name)
    plain = [*metric_tables(compare({"ile": frames}, frames, frames[::-1])).values()]
    harmless = page(
        "title",
        ["note"],
        [*plain, models_table(scores.replace(name, "ile"), pd.DataFrame([{**facts, "model": "ile", "commit": "c"}]))],
        {"caption": figure},
    )
    hostile = page(name, [name], tables, {name: figure})
    assert Page(hostile).tags == Page(harmless).tags
    assert [key for key, _ in Page(hostile).attributes] == [key for key, _ in Page(harmless).attributes]
    assert ("alt", name) in Page(hostile).attributes
    assert Page(hostile).shown.count(name) >= 3

    text = markdown(name, [name], tables)
    of_table = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(cells(line)) for line in of_table]
    assert widths == [*[len(table.columns) for table in tables for _ in range(len(table) + 2)], *[5] * 5]
    assert "<" not in text
    assert rendered(text.splitlines()[0]) == f"# {' '.join(name.split())}"


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_of_a_video_shows_its_name_and_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def of(text: str) -> Page:
        section = {"task": text, "words": text, "facts": text, "players": {text: "AAAA"}, "picture": "AAAA"}
        section["backtest"] = {"columns": [1], "rows": [{"name": text, "cells": [{"text": text}], "share": text}]}  # type: ignore[assignment]
        monkeypatch.setattr(report, "_section", lambda folder, task: section)
        results = pd.DataFrame([{"footage": text, "folder": text, "task": text}])
        return Page(report.page(results, {text: text}, waves(4, 16, 16), 25))

    monkeypatch.setattr(report, "_small_video", lambda frames, fps: "AAAA")
    hostile, harmless = of(name), of("a video")
    assert hostile.tags == harmless.tags
    assert [key for key, _ in hostile.attributes] == [key for key, _ in harmless.attributes]
    assert hostile.shown.count(name) == harmless.shown.count("a video") >= 5


@pytest.mark.parametrize("name", ["$\\frac$", "$x", "a$b$c"])
def test_a_dollar_in_a_title_is_no_formula(tmp_path: Path, name: str) -> None:
    figure, _ = sheet(1, 1, (3, 1), name)
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
