"""The one family of errors that people are meant to read."""

from __future__ import annotations


class ConformanceError(Exception):
    """A mistake that a person can mend: what was found, where, what was expected, what to do next."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(ConformanceError):
    """A command was called in a way that it cannot answer."""


class NothingSelected(ConformanceError):  # noqa: N818 - an outcome, with an exit code of its own
    """The selection holds no case."""

    exit_code = 5


class InternalError(ConformanceError):
    """The harness broke one of its own promises; never the fault of a case or a backend."""

    exit_code = 3
