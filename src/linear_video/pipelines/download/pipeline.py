"""Wiring of a download."""

from functools import partial, update_wrapper

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.download.nodes import download


def create_pipeline(dataset: str) -> Pipeline:
    """One node, optional: the files may as well be put into their folder by hand."""
    return Pipeline(
        [
            node(
                update_wrapper(partial(download, dataset=dataset), download),
                inputs=f"params:download_{dataset}",
                outputs=f"{dataset}_files",
                name=f"download_{dataset}",
            )
        ]
    )
