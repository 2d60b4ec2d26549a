"""Extended precision in a script: where float64 is what is tested, the formula needs more."""

from __future__ import annotations

from conformance.repro.fault import Fault


def wide_batches(fault: Fault) -> str:
    """The line that makes the batches of a script so."""
    if not fault.history:
        names = ("x", "gy") if fault.wants_gradient else ("x",)
        return f"{', '.join(names)} = " + ", ".join(f"{name}.astype(np.longdouble)" for name in names)
    each = "[a.astype(np.longdouble) for a in each]" if fault.wants_gradient else "each.astype(np.longdouble)"
    return f"batches = [{each} for each in batches]"
