"""The table of experiments: every model on every dataset that suits it, how it is judged, and what is shown beside it.

Datasets are the entries of the parameters that have a ``kind``, so a dataset of your own needs no code.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from linear_video.clips.base import DatasetSettings
from linear_video.clips.registry import KINDS, settings_class
from linear_video.common.errors import InputError, shown
from linear_video.models.registry import MODELS

# The dataset of a model that is named without one: for models that synthesise, and for those that predict.
DEFAULT_SYNTHESISED, DEFAULT_PREDICTED = "digit_cycles", "moving_symbols"
SYNTHESIS_REFERENCE = "lds"  # the model whose sequences are shown beside those of all others

LONGEST = 50  # letters of a dataset's name, since files are named after it, and a letter has up to four bytes

Datasets = Mapping[str, type[DatasetSettings]]  # by name, the settings class of each


class Experiment(NamedTuple):
    """One model on one dataset."""

    model: str
    dataset: str

    @property
    def name(self) -> str:
        """The name of the experiment's pipeline, and the start of its nodes' and parameters' names."""
        return f"{self.model}.{self.dataset}"


def declared_datasets(parameters: Mapping[str, Any]) -> dict[str, type[DatasetSettings]]:
    """The datasets that parameters declare.

    Raises:
        InputError: if a kind is unknown, or a name is taken or not allowed.
    """
    found = {}
    for name, values in parameters.items():
        if not isinstance(values, Mapping) or "kind" not in values:
            continue
        kind = values["kind"]
        if not isinstance(kind, str) or kind not in KINDS:
            close = difflib.get_close_matches(str(kind), KINDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(KINDS)}."
            raise InputError(f"{shown(name)}.kind: there is no kind of dataset {shown(repr(kind))}; {hint}")
        if not str(name).isidentifier() or len(str(name)) > LONGEST or name in MODELS or name in KINDS:
            raise InputError(
                f"a dataset cannot be called {shown(repr(name))}: use a name of at most {LONGEST} letters, digits and "
                f"underscores that is not one of {', '.join([*MODELS, *KINDS])}."
            )
        found[str(name)] = settings_class(kind)
    return found


def all_experiments(datasets: Datasets) -> list[Experiment]:
    """All models on the datasets of prediction, and the models that synthesise on all other datasets."""
    return [
        Experiment(model, dataset)
        for model, entry in MODELS.items()
        for dataset, settings in datasets.items()
        if settings.judge == "prediction" or entry.synthesises
    ]


def default_experiment(model: str) -> Experiment:
    """The experiment that a model's name alone stands for."""
    return Experiment(model, DEFAULT_SYNTHESISED if MODELS[model].synthesises else DEFAULT_PREDICTED)


def main_experiment(namespaces: Iterable[str]) -> str | None:
    """What a run is about, by the namespaces of its nodes: one experiment, comparison or dataset; None for several.

    A namespace that only serves an experiment (its dataset, a comparison, or the model beside it) does not count.
    """
    names = {name for name in namespaces if name.partition(".")[0] in MODELS} or set(namespaces)
    beside = {name for name in names if name.startswith(f"{SYNTHESIS_REFERENCE}.")}
    names = names - beside or beside
    return names.pop() if len(names) == 1 else None
