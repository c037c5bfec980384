"""A trained model on footage of one's own.

PyTorch and matplotlib are imported within the node, since every ``kedro`` command imports this file.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from linear_video.tasks.settings import PredictSettings


def run_task(predict: dict[str, Any], seed: int, folder: Path) -> pd.DataFrame:
    """Do the task; leave a video, a picture and a table of each piece of footage in a folder of its own."""
    import linear_video
    from linear_video.tasks.run import run_all

    settings = PredictSettings(**predict)
    trained = linear_video.load(settings.model, settings.fit, settings.context)
    return run_all(settings, trained, folder, seed)
