"""Check files of parameters and catalog before they are read: nested aliases make gigabytes of a few lines."""

from pathlib import Path

import yaml

from linear_video.common.errors import InputError

MOST_BYTES, MOST_NODES, DEEPEST = 2**20, 100_000, 50


def check_yaml(path: Path) -> None:
    """Check a YAML file; errors in its syntax are left to the reader of the file.

    Raises:
        InputError: if it is not a regular text file, or is too long, too deep, or too large with all aliases expanded.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a regular file.")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes, which no file of parameters needs.")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    sizes, open_nodes = dict[str, int](), list[tuple[str | None, int]]()  # nodes of each anchor; anchors still open
    total = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                if anchor is not None:
                    sizes[anchor] = total - before
            elif isinstance(event, yaml.NodeEvent):
                total += sizes.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
                if isinstance(event, yaml.CollectionStartEvent):
                    open_nodes.append((event.anchor, total))
            if len(open_nodes) > DEEPEST:
                raise InputError(f"{path} is nested more than {DEEPEST} deep.")
            if total > MOST_NODES:
                raise InputError(f"{path} has more than {MOST_NODES:,} values, those of its aliases included.")
    except yaml.YAMLError:
        return
