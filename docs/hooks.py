"""Content that the pages of the site take from elsewhere: files of the project, and tables of settings.

A line ``::settings <module>:<class>`` on a page becomes a table of the settings of that class: name, default and
meaning, from its fields and its docstring. A line ``::figures <name>`` becomes what ``make results`` has measured and
kept in ``docs/results/<name>.json``.
"""

import dataclasses
import inspect
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

from griffe import Docstring, DocstringSectionAttributes, parse_google

ROOT = Path(__file__).parents[1]
FILES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}  # by page
FIGURES = re.compile(r"^::figures (\w+)$", re.MULTILINE)
SETTINGS = re.compile(r"^::settings (\S+)$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this for each page, with its Markdown; what it returns is rendered."""
    if page.file.src_uri in FILES:
        return (ROOT / FILES[page.file.src_uri]).read_text().replace("](docs/", "](")
    markdown = SETTINGS.sub(lambda found: settings_table(found[1]), markdown)
    return FIGURES.sub(lambda found: figures(found[1]), markdown)


def figures(name: str) -> str:
    """What a command has printed, and how it was run; or that it has not been run."""
    file = ROOT / f"docs/results/{name}.json"
    if not file.exists():
        return "*Not measured yet on this version.*"
    found = json.loads(file.read_text())
    return f"{found['printed']}\n\n`{found['command']}`: commit {found['commit'][:10]}, on {found['machine']}."


def settings_table(place: str) -> str:
    """A Markdown table of the settings of a dataclass, ``module:class``.

    Raises:
        ValueError: if the docstring does not name every setting; the build of the site stops.
    """
    kind = pkgutil.resolve_name(place)
    meanings = {
        attribute.name: attribute.description
        for base in reversed(kind.__mro__)  # a kind of settings may only explain what it adds
        for section in parse_google(Docstring(inspect.cleandoc(base.__doc__ or ""), lineno=1))
        if isinstance(section, DocstringSectionAttributes)
        for attribute in section.value
    }
    fields = dataclasses.fields(kind)
    unknown = [field.name for field in fields if field.name not in meanings]
    if unknown:
        raise ValueError(f"the docstring of {place} does not say what {', '.join(unknown)} means.")
    rows = [f"| `{field.name}` | `{default_of(field)}` | {cell(meanings[field.name])} |" for field in fields]
    return "\n".join(["| setting | default | meaning |", "| --- | --- | --- |", *rows])


def default_of(field: Any) -> str:
    """A field's default, written as in a file of parameters."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "(required)"
    names: dict[Any, str] = {None: "null", True: "true", False: "false", "": '""'}
    return names.get(value, str(value)) if isinstance(value, bool | str | None) else str(value).replace("'", "")


def cell(text: str) -> str:
    """A text on one line, fit for a table."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())
