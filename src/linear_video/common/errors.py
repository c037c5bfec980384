"""Errors that a user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used: a parameter, a file, a folder. The message says what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """What notebooks show, which ask for this name: the message alone."""
        return [f"Error: {self}"]


def shown(value: object, most: int = 60) -> str:
    """What a user has given, as part of a message of one line: neither long nor with line breaks."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= most else f"{text[:most]}..."


class TrainingError(RuntimeError):
    """Training cannot go on. The message names the step and what is left."""


class NoRoomError(OSError):
    """What is to be written has no room: the disk is full, or a quota or limit is reached. The message names the file.

    ``errno`` is the system's number.
    """

    def __str__(self) -> str:
        return str(self.args[1])
