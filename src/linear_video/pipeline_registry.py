"""All pipelines by name: each dataset, each experiment ``<model>.<dataset>``, each download."""

from kedro.pipeline import Pipeline

from linear_video.pipelines import digit_cycles, download, experiment, footage, moving_symbols, small_norb, summary

EXPERIMENTS = {"ile": ["moving_symbols", "ucf_sports"]}  # of each model; the first dataset is its default
DOWNLOADS = ("mnist", "small_norb")


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines for ``kedro run --pipeline``; an experiment includes making its dataset."""
    pipelines = {
        "moving_symbols": moving_symbols.create_pipeline() + summary.create_pipeline("moving_symbols", sources=False),
        "digit_cycles": digit_cycles.create_pipeline() + summary.create_pipeline("digit_cycles", sources=False),
        "small_norb": small_norb.create_pipeline() + summary.create_pipeline("small_norb", sources=True),
    }
    for dataset in ("ucf_sports", "ucla_textures"):
        pipelines[dataset] = footage.create_pipeline(dataset) + summary.create_pipeline(dataset, sources=True)
    for model, datasets in EXPERIMENTS.items():
        for dataset in datasets:
            pipelines[f"{model}.{dataset}"] = pipelines[dataset] + experiment.create_pipeline(model, dataset)
        pipelines[model] = pipelines[f"{model}.{datasets[0]}"]
    pipelines |= {f"download_{dataset}": download.create_pipeline(dataset) for dataset in DOWNLOADS}
    pipelines["__default__"] = pipelines["ile"]
    return pipelines
