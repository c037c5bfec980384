"""Wiring of a dataset: one template, used for each dataset."""

from kedro.pipeline import Pipeline, node

from linear_video.clips.base import SPLITS
from linear_video.pipelines.bound import ALWAYS, FIRST, SHARING, bound
from linear_video.pipelines.ingestion.nodes import make, read_shard, summarise


def create_pipeline(dataset: str, *, lists_sources: bool, labels_anomalies: bool) -> Pipeline:
    """Nodes ``<dataset>.make`` and ``<dataset>.summarise``.

    Both run before any training, so that other runs can use the clips in the meantime.
    """
    clips = [f"{split}_clips" for split in SPLITS]
    sources = ["sources"] if lists_sources else []
    videos = ["videos"] if labels_anomalies else []
    nodes = [
        node(
            bound(make, dataset=dataset),
            inputs={"settings": f"params:{dataset}", "seed": "params:seed", "folder": "frames_folder"},
            outputs=[*clips, *sources, *videos],
            name="make",
            tags=["ingest", FIRST],
        ),
        node(
            bound(summarise, dataset=dataset),
            inputs=dict(zip([*SPLITS, *sources], [*clips, *sources], strict=True)),
            outputs=["summary", "contact_sheet"],
            name="summarise",
            tags=["ingest", FIRST],
        ),
    ]
    return Pipeline(nodes, namespace=dataset, parameters={f"params:{dataset}", "params:seed"})


def create_shard_pipeline(dataset: str) -> Pipeline:
    """Node ``<dataset>.read``: one part of the reading, for runs side by side on one machine or many."""
    read = node(
        bound(read_shard, dataset=dataset),
        inputs={"settings": f"params:{dataset}", "shard": "params:shard", "folder": "frames_folder"},
        outputs=None,
        name="read",
        tags=["ingest", FIRST, ALWAYS, SHARING],
    )
    return Pipeline([read], namespace=dataset, parameters={f"params:{dataset}", "params:shard"})
