"""Errors that a user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used: a parameter, a file, a folder. The message says what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """What notebooks show, which ask for this name: the message alone."""
        return [f"Error: {self}"]


class TrainingError(RuntimeError):
    """Training cannot go on. The message names the step and what is left."""
