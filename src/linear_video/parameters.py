"""The tree of all parameters, and the check that finds unknown, misspelt and impossible ones before a run starts."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from linear_video.clips.digit_cycles import DigitCyclesSettings
from linear_video.clips.footage import FootageSettings
from linear_video.clips.moving_symbols import MovingSymbolsSettings
from linear_video.clips.rotation import RotationSettings
from linear_video.errors import InputError
from linear_video.evaluation.settings import EvaluationSettings, SynthesisSettings
from linear_video.models.settings import AdversarialSettings, DynamicVaeSettings, IleSettings, LdsSettings
from linear_video.tasks.settings import PredictSettings
from linear_video.training.settings import TrainingSettings


@dataclass(frozen=True)
class DownloadSettings:
    """Where files come from and go to: ``checksums`` gives each file's name and ``md5:`` or ``sha256:`` sum."""

    url: str
    folder: str
    checksums: dict[str, str]


@dataclass(frozen=True)
class IleExperiment:
    """One ILE on one dataset."""

    model: IleSettings
    training: TrainingSettings


@dataclass(frozen=True)
class IleExperiments:
    """The ILE on every dataset it is trained on."""

    moving_symbols: IleExperiment
    ucf_sports: IleExperiment


@dataclass(frozen=True)
class AdversarialExperiment:
    """One adversarial network on one dataset."""

    model: AdversarialSettings
    training: TrainingSettings


@dataclass(frozen=True)
class AdversarialExperiments:
    """The adversarial network on every dataset it is trained on."""

    moving_symbols: AdversarialExperiment
    ucf_sports: AdversarialExperiment


@dataclass(frozen=True)
class DynamicVaePrediction:
    """One Dynamic VAE on one dataset, for prediction."""

    model: DynamicVaeSettings
    training: TrainingSettings


@dataclass(frozen=True)
class DynamicVaeSynthesis:
    """One Dynamic VAE on one dataset, for synthesis."""

    model: DynamicVaeSettings
    training: TrainingSettings
    synthesis: SynthesisSettings


@dataclass(frozen=True)
class DynamicVaeExperiments:
    """The Dynamic VAE on every dataset it is trained on."""

    digit_cycles: DynamicVaeSynthesis
    ucla_textures: DynamicVaeSynthesis
    small_norb: DynamicVaeSynthesis
    moving_symbols: DynamicVaePrediction


@dataclass(frozen=True)
class LdsPrediction:
    """One linear dynamic system on one dataset, for prediction."""

    model: LdsSettings


@dataclass(frozen=True)
class LdsSynthesis:
    """One linear dynamic system on one dataset, for synthesis."""

    model: LdsSettings
    synthesis: SynthesisSettings


@dataclass(frozen=True)
class LdsExperiments:
    """The linear dynamic system on every dataset it is fitted to."""

    digit_cycles: LdsSynthesis
    ucla_textures: LdsSynthesis
    small_norb: LdsSynthesis
    moving_symbols: LdsPrediction


@dataclass(frozen=True)
class Parameters:
    """All parameters.

    Attributes:
        seed: of everything random: clips, initial weights, noise.
        moving_symbols: the simulated dataset.
        ucf_sports, ucla_textures: datasets read from recordings.
        small_norb: rotating objects.
        digit_cycles: counting sequences.
        download_mnist, download_small_norb: where their files are fetched.
        evaluation: what is predicted and scored, by every experiment.
        ile: the experiments of the Invertible Linear Embedding.
        adversarial: those of the adversarial multi-scale network.
        dynamic_vae: those of the Dynamic VAE.
        lds: those of the linear dynamic system.
        predict: what a trained model does with footage of one's own.
    """

    seed: int
    moving_symbols: MovingSymbolsSettings
    ucf_sports: FootageSettings
    ucla_textures: FootageSettings
    small_norb: RotationSettings
    digit_cycles: DigitCyclesSettings
    download_mnist: DownloadSettings
    download_small_norb: DownloadSettings
    evaluation: EvaluationSettings
    ile: IleExperiments
    adversarial: AdversarialExperiments
    dynamic_vae: DynamicVaeExperiments
    lds: LdsExperiments
    predict: PredictSettings

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be within [0, 2^31), not {self.seed}.")
        # Found out only after the training otherwise.
        wanted = self.evaluation.context + self.evaluation.horizon
        for dataset in ("moving_symbols", "ucf_sports"):
            frames = getattr(self, dataset).frames
            if frames < wanted:
                raise ValueError(
                    f"evaluation.context + evaluation.horizon are {wanted} frames, but {dataset}.frames is {frames}."
                )
            model = getattr(self.ile, dataset).model
            if model.forecast_weight and frames <= model.forecast_context:
                raise ValueError(
                    f"ile.{dataset}.model.forecast_context is {model.forecast_context}, which leaves no frame to "
                    f"forecast of {dataset}.frames, {frames}; lower it, or set forecast_weight to 0.0."
                )


def check_parameters(parameters: Mapping[str, Any]) -> Parameters:
    """Read the whole tree of parameters.

    Raises:
        InputError: naming every parameter that is unknown, missing, of a wrong type or out of range.
    """
    problems = _unknown(parameters, Parameters, "")
    try:
        # Strict, since nodes are given the values as they stand: "15" is no number. JSON has no tuples: lists are fine.
        checked = _adapter().validate_json(json.dumps(dict(parameters), default=str), strict=True)
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors()]
    if problems:
        raise InputError("Parameters cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return checked


def _problem(detail: Any) -> str:
    """One line on what pydantic found."""
    name = ".".join(str(part) for part in detail["loc"]) or "parameters"
    if "error" in detail.get("ctx", {}):
        return f"{name}: {detail['ctx']['error']}"
    given = "" if detail["type"] == "missing" else f", not {detail['input']!r}"
    return f"{name}: {detail['msg']}{given}"


@cache
def _adapter() -> TypeAdapter[Parameters]:
    return TypeAdapter(Parameters)


def _unknown(values: Any, settings: type, path: str) -> list[str]:
    """Names in ``values`` that the settings class does not have, at any depth."""
    if not isinstance(values, Mapping):
        return []
    hints = get_type_hints(settings)
    known = [field.name for field in fields(settings)]
    problems = []
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {path}{close[0]}?" if close else f"known here: {', '.join(known)}."
            problems.append(f"{path}{name} is no parameter; {hint}")
        elif is_dataclass(hints[name]):
            problems += _unknown(value, hints[name], f"{path}{name}.")
    return problems
