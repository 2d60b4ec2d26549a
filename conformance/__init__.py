"""Does this layer compute what its definition says?

``check(MyBatchNorm2d, like="BatchNorm2d")`` is all that a test of one's own layer needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.checking.api import CheckFailed, check

__all__ = ["CheckFailed", "__version__", "check"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``check`` and ``CheckFailed``, imported when they are first asked for: the command line needs neither."""
    if name in ("check", "CheckFailed"):
        from conformance.checking import api

        return getattr(api, name)
    raise AttributeError(f"module 'conformance' has no attribute {name!r}")
