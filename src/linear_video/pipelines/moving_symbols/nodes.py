"""Moving Symbols: simulate the clips of one split."""

from pathlib import Path
from typing import Any

from linear_video.clips.clip_set import ClipSet
from linear_video.clips.moving_symbols import MovingSymbolsSettings, load_backgrounds, simulate
from linear_video.clips.symbols import Split, load_symbols


def simulate_split(parameters: dict[str, Any], seed: int, split: Split) -> ClipSet:
    """Clips of one split, from the parameters of ``MovingSymbolsSettings``."""
    settings = MovingSymbolsSettings(**parameters)
    symbols = load_symbols(settings.symbols, Path(settings.symbols_folder), settings.symbol_size, split)
    folder = settings.backgrounds_folder
    backgrounds = load_backgrounds(Path(folder), settings, split) if folder else None
    return simulate(settings, symbols, split, seed, range(settings.clips[split]), backgrounds)
