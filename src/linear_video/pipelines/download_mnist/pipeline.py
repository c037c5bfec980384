"""Wiring of the download."""

from kedro.pipeline import Pipeline, node

from linear_video.pipelines.download_mnist.nodes import download


def create_pipeline() -> Pipeline:
    """One node, optional: MNIST's files may as well be put into their folder by hand."""
    return Pipeline(
        [
            node(
                download,
                inputs={"parameters": "params:download_mnist", "folder": "mnist_folder"},
                outputs="mnist_files",
                name="download_mnist",
            )
        ]
    )
