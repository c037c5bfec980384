"""Errors that a user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used: a parameter, a file, a folder. The message says what to do about it."""


class TrainingError(RuntimeError):
    """Training cannot go on. The message names the step and what is left."""


class NoRoomError(OSError):
    """What is to be written has no room: the disk is full, or a quota or limit is reached. The message names the file.

    ``errno`` is the system's number.
    """

    def __str__(self) -> str:
        return str(self.args[1])
