"""What a framework said, as the reason why a backend cannot run a case."""

from __future__ import annotations

from conformance.observation import Unsupported

_WORDS = 300  # characters of somebody else's text that a reason keeps


def stated(stage: str, error: Exception) -> Unsupported:
    """The exception as a reason: at which stage, of which class, and the first line that says something."""
    cause: BaseException = error
    while cause.__cause__ is not None:  # exporters wrap what happened in advice on how to report it
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    words = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    return Unsupported(f"{stage}: {type(cause).__name__}: {words[:_WORDS]}")
