"""Any text within Markdown: names of videos, labels and models are shown as they are, and never act as markup."""

import html
import re

import pandas as pd


def escaped(text: str) -> str:
    """Escape text for Markdown and HTML, in one line; underscores within words stay."""
    safe = re.sub(r"([\\`*\[\]|~])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", safe)


def markdown_table(table: pd.DataFrame) -> str:
    """A table as Markdown, without its index; numbers are left as they are, and texts are escaped."""
    shown = table.rename(columns=lambda name: escaped(str(name)))
    shown = shown.map(lambda value: escaped(value) if isinstance(value, str) else value)
    return str(shown.to_markdown(index=False, disable_numparse=True))
