"""Apply a trained model to your own footage.

PyTorch and matplotlib are imported within the node, since every ``kedro`` command imports this file.
"""

from pathlib import Path

import pandas as pd

from linear_video.tasks.settings import PredictSettings


def run_task(predict: PredictSettings, seed: int, folder: Path) -> pd.DataFrame:
    """Do the task, and write a video, a picture and a table for each piece of footage into its own folder."""
    import linear_video
    from linear_video.tasks.runner import run_all

    trained = linear_video.load(predict.model, predict.fit, predict.context, method=predict.method)
    return run_all(predict, trained, folder, seed)
