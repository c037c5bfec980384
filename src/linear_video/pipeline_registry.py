"""All pipelines by name: each dataset, each experiment ``<model>.<dataset>``, comparisons, downloads."""

from kedro.pipeline import Pipeline

from linear_video.pipelines import (
    comparison,
    digit_cycles,
    download,
    footage,
    moving_symbols,
    predict,
    prediction,
    small_norb,
    summary,
    synthesis,
    training,
)

PREDICTED, SYNTHESISED = ("moving_symbols", "ucf_sports"), ("digit_cycles", "ucla_textures", "small_norb")
EXPERIMENTS = {  # of each model; the first dataset is its default
    "ile": ["moving_symbols", "ucf_sports"],
    "adversarial": ["moving_symbols", "ucf_sports"],
    "lds": [*SYNTHESISED, "moving_symbols"],
    "dynamic_vae": [*SYNTHESISED, "moving_symbols"],
}
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
            evaluation = synthesis if dataset in SYNTHESISED else prediction
            pipelines[f"{model}.{dataset}"] = (
                pipelines[dataset]
                + training.create_pipeline(model, dataset)
                + evaluation.create_pipeline(model, dataset)
            )
            if model == "dynamic_vae" and dataset in SYNTHESISED:  # beside which it is shown
                pipelines[f"{model}.{dataset}"] += pipelines[f"lds.{dataset}"]
        pipelines[model] = pipelines[f"{model}.{datasets[0]}"]
    for dataset in PREDICTED:
        models = [model for model, datasets in EXPERIMENTS.items() if dataset in datasets]
        pipelines[f"compare.{dataset}"] = comparison.create_pipeline(dataset, models)
    pipelines["compare"] = pipelines[f"compare.{PREDICTED[0]}"]
    pipelines |= {f"download_{dataset}": download.create_pipeline(dataset) for dataset in DOWNLOADS}
    pipelines["predict"] = predict.create_pipeline()
    pipelines["__default__"] = pipelines["ile"]
    return pipelines
