"""Wiring of a download."""

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.bound import ALWAYS, bound
from linear_video.pipelines.download.nodes import download


def create_pipeline(name: str) -> Pipeline:
    """One optional node, ``download_<files>``; the files can also be put into their folder by hand."""
    function = bound(download, name=name)
    tags = ["ingest", ALWAYS]
    return Pipeline([node(function, inputs=f"params:{name}", outputs=f"{name}_files", name=name, tags=tags)])
