"""A trained model on footage of one's own.

PyTorch and matplotlib are imported within the node, since every ``kedro`` command imports this file.
"""

from pathlib import Path

import pandas as pd

from linear_video.tasks.settings import PredictSettings


def run_task(predict: PredictSettings, seed: int, folder: Path) -> pd.DataFrame:
    """Do the task; leave a video, a picture and a table of each piece of footage in a folder of its own."""
    import linear_video
    from linear_video.tasks.runner import run_all

    trained = linear_video.load(predict.model, predict.fit, predict.context, method=predict.method)
    return run_all(predict, trained, folder, seed)
