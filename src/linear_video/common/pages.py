"""HTML pages that need no other files: their pictures and videos are inside them."""

import base64
from typing import Any

import jinja2

# Everything that is put into a page is escaped, so that users' text cannot become markup.
_ENVIRONMENT = jinja2.Environment(loader=jinja2.PackageLoader("linear_video", ""), autoescape=True)


def rendered(template: str, **values: Any) -> str:
    """A page from a template, named by its path within the package; all templates extend ``common/page.html``."""
    return _ENVIRONMENT.get_template(template).render(**values)


def as_text(content: bytes) -> str:
    """The content of a file as text for a data URL."""
    return base64.b64encode(content).decode()
