"""Does this layer compute what its definition says?

``check(MyBatchNorm2d, like="BatchNorm2d")`` is all that a test of one's own layer needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.backends.candidate.package import backend_of
    from conformance.checking.api import CheckFailed, check

__all__ = ["CheckFailed", "__version__", "backend_of", "check"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What is public, imported when it is first asked for: the command line needs none of it."""
    if name in ("check", "CheckFailed"):
        from conformance.checking import api

        return getattr(api, name)
    if name == "backend_of":
        from conformance.backends.candidate.package import backend_of

        return backend_of
    raise AttributeError(f"module 'conformance' has no attribute {name!r}")
