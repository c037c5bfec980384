"""All pipelines by name: each dataset, and each experiment ``<model>.<dataset>``."""

from kedro.pipeline import Pipeline

from linear_video.pipelines import download_mnist, experiment, moving_symbols

DATASETS = {"moving_symbols": moving_symbols.create_pipeline}
EXPERIMENTS = {"ile": ["moving_symbols"]}  # of each model; the first dataset is its default


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines for ``kedro run --pipeline``; an experiment includes making its dataset."""
    pipelines = {name: create() for name, create in DATASETS.items()}
    pipelines["download_mnist"] = download_mnist.create_pipeline()
    for model, datasets in EXPERIMENTS.items():
        for dataset in datasets:
            pipelines[f"{model}.{dataset}"] = pipelines[dataset] + experiment.create_pipeline(model, dataset)
        pipelines[model] = pipelines[f"{model}.{datasets[0]}"]
    pipelines["__default__"] = pipelines["ile"]
    return pipelines
