"""Errors that a user can fix."""


class InputError(ValueError):
    """A parameter, file or folder that the user gave cannot be used. The message says what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """Notebooks call this method for what they show: the message alone."""
        return [f"Error: {self}"]


def shown(value: object, most: int = 60) -> str:
    """A value from the user, for use in a message: shortened, and without line breaks."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= most else f"{text[:most]}..."


class TrainingError(RuntimeError):
    """Training cannot go on. The message names the step and what has been kept."""


class NoRoomError(OSError):
    """There is no room to write a file: the disk is full, or a quota or limit is reached. The message names the file.

    ``errno`` is the system's number.
    """

    def __str__(self) -> str:
        return str(self.args[1])
