"""The kinds of datasets, by the name that the parameter ``kind`` of a dataset takes.

To add one, write a subclass of ``DatasetSettings`` in a new file, and add a line here.
"""

import pkgutil

from linear_video.clips.base import DatasetSettings

KINDS = {
    "symbols": "linear_video.clips.moving_symbols:MovingSymbolsSettings",
    "footage": "linear_video.clips.footage:FootageSettings",
    "video": "linear_video.clips.footage:VideoSettings",
    "anomalies": "linear_video.clips.anomalies:AnomaliesSettings",
    "textures": "linear_video.clips.footage:TextureSettings",
    "events": "linear_video.clips.planted_events:PlantedEventsSettings",
    "rotation": "linear_video.clips.rotation:RotationSettings",
    "cycles": "linear_video.clips.digit_cycles:DigitCyclesSettings",
}


def settings_class(kind: str) -> type[DatasetSettings]:
    """The settings class of one of the ``KINDS``; its file is imported only now."""
    found: type[DatasetSettings] = pkgutil.resolve_name(KINDS[kind])
    return found
