"""Errors that a user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used: a parameter, a file, a folder. The message says what to do about it."""


class TrainingError(RuntimeError):
    """Training cannot go on. The message names the step and what is left."""
