"""A trained model as MLflow's ``pyfunc``. This file is logged as code, beside the checkpoint; nothing is pickled.

``mlflow models serve -m runs:/<run>/model --env-manager local`` answers a clip with the frames that follow it:
``{"inputs": [[[[0, ...], ...], ...], ...], "params": {"horizon": 5}}``, (T, h, w, channels) of 0 .. 255. It runs the
copy of this file that lies beside the model; ``linear_video.tracking.server`` runs none.
"""

from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from linear_video.common.errors import InputError

FRAMES = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))])
SIGNATURE = ModelSignature(FRAMES, FRAMES, ParamSchema([ParamSpec("horizon", DataType.long, 5)]))


class Forecast(PythonModel):
    """Frames uint8 (T, h, w, channels) of any size in, the next ``horizon`` ones out; see ``TrainedModel``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the checkpoint."""
        import linear_video

        self.trained = linear_video.load(context.artifacts["checkpoint"])

    def predict(self, context, model_input, params: dict[str, Any] | None = None):  # type: ignore[no-untyped-def]
        """Predict. There are no type hints, since MLflow would warn that it does not know them.

        Raises:
            MlflowException: if the frames cannot be used, or take more memory or time than is allowed; a server
                answers with its message and status 400.
        """
        from linear_video.tracking.requests import HORIZON, answer, check_horizon

        try:
            horizon = check_horizon((params or {}).get("horizon", HORIZON))
            return answer(self.trained, np.asarray(model_input), horizon)
        except InputError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from error


mlflow.models.set_model(Forecast())
