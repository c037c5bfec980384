"""PSNR and SSIM of many frames at once, as in validations and tasks, against scikit-image frame by frame."""

import numpy as np

from linear_video.evaluation.scores import judge_frames, score_frames
from measuring import Row, in_turns, target

SHAPES = ((100, 5, 1, 16, 16), (100, 5, 1, 32, 32), (100, 5, 3, 32, 32), (20, 5, 3, 64, 64))


def measure(tiny: bool) -> Row:
    """Times for frames of several sizes, and the largest differences of PSNR and SSIM."""
    sizes: list[Row] = []
    for shape in SHAPES[:1] if tiny else SHAPES:
        random = np.random.default_rng(0)
        truth = random.random(shape)
        predicted = np.clip(truth + 0.1 * random.standard_normal(shape), 0, 1)
        steps = {
            "scikit-image, one by one": lambda p=predicted, t=truth: judge_frames(p, t),
            "ours": lambda p=predicted, t=truth: score_frames(p, t),
        }
        rows = in_turns(steps, reference="ours", rounds=1 if tiny else 7)
        pairs = zip(judge_frames(predicted, truth), score_frames(predicted, truth), strict=True)
        difference = max(float(np.abs(one - other).max()) for one, other in pairs)
        n, horizon, *frame = shape
        sizes.append({"frames": n * horizon, "shape": "x".join(map(str, frame)), "rows": rows, "apart": difference})
    targets = [
        target("time, by that of scikit-image", max(1 / size["rows"][0]["ratio"] for size in sizes), 1 / 3),
        target("largest difference of a score", max(size["apart"] for size in sizes), 1e-7),
    ]
    return {"sizes": sizes, "targets": targets}
