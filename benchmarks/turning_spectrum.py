"""Draw a picture for docs/concepts/models.md: the spectrum of an ILE with modal dynamics turns with a clip's motion.

python benchmarks/turning_spectrum.py
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from linear_video.models.checkpoint import load_checkpoint
from linear_video.models.ile.modal import ModalPrior


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("data/06_models/ile/moving_symbols"))
    parser.add_argument("--clips", type=Path, default=Path("data/03_primary/moving_symbols/test"))
    parser.add_argument("--shown", type=int, nargs="*", default=[0, 1], help="numbers of clips")
    parser.add_argument("--into", type=Path, default=Path("docs/images/turning_spectrum.png"))
    arguments = parser.parse_args()
    model = load_checkpoint(arguments.model)
    prior = model.prior
    if not isinstance(prior, ModalPrior):
        raise SystemExit(f"{arguments.model} has no modal dynamics.")
    frames = np.load(arguments.clips / "frames.npy", mmap_mode="r")[arguments.shown]
    clips = torch.from_numpy(np.array(frames)).float() / 255
    with torch.no_grad():
        angles = prior.factors(prior.turn(prior.motion(clips)[:, :, 0]), 1.0)[:, :, 0].angle()  # (N, T, M)
    horizontal, vertical = (prior.modes.frequencies / torch.pi).numpy()
    moments = list(range(1, clips.shape[1] - 1, 2))
    figure = Figure(figsize=(1.15 * len(moments) + 1.2, 2.35 * len(clips)), layout="constrained")
    axes = figure.subplots(2 * len(clips), len(moments), squeeze=False)
    for clip, rows in enumerate(axes.reshape(len(clips), 2, -1)):
        for (frame, spectrum), t in zip(rows.T, moments, strict=True):
            frame.imshow(clips[clip, t, 0], cmap="gray", vmin=0, vmax=1)
            turned = angles[clip, t].numpy()
            for sign in (1, -1):  # of each conjugate pair, one is kept
                dots = spectrum.scatter(
                    *(sign * horizontal, sign * vertical),
                    c=sign * turned,
                    s=3,
                    cmap="twilight",
                    vmin=-np.pi,
                    vmax=np.pi,
                )
            spectrum.set(aspect="equal", xlim=(-1, 1), ylim=(1, -1))
            frame.set_title(f"frame {t}", fontsize=8)
            for axis in (frame, spectrum):
                axis.set_xticks([])
                axis.set_yticks([])
        rows[1, 0].set_ylabel("frequency k,\nangle a frame", fontsize=7)
        rows[0, 0].set_ylabel("clip", fontsize=7)
    bar = figure.colorbar(dots, ax=axes[:, -1], shrink=0.5, ticks=[-np.pi, 0, np.pi])
    bar.ax.set_yticklabels(["-180°", "0", "180°"], fontsize=7)
    figure.savefig(arguments.into, dpi=110)
    print(arguments.into)


if __name__ == "__main__":
    main()
