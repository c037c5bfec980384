"""Pages of the documentation that are rendered from measured values.

``docs/<page>.md.jinja`` is the text of a page, and ``docs/<page>.json`` has its numbers. Templates are Jinja's, and
have one filter more: ``{{ 1234.5 | show(",.1f") }}`` is 1,234.5.
"""

import json
from pathlib import Path
from typing import Any

import jinja2

DOCS = Path(__file__).parents[1] / "docs"


def render(template: Path, values: Any) -> str:
    """The text of a page.

    Raises:
        jinja2.UndefinedError: if the template asks for a value that is not there.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, from our own numbers
    )
    environment.filters["show"] = format
    return environment.get_template(template.name).render(**values)


def rendered(name: str) -> str:
    """What ``docs/<name>.md`` must be."""
    return render(DOCS / f"{name}.md.jinja", json.loads((DOCS / f"{name}.json").read_text()))
