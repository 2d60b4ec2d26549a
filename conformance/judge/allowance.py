"""The error that is allowed in a stored quantity: what the reference permits, and one rounding on store."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import frexp, ldexp
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from conformance.suite.case import Case, Tolerance
from references.expected import Quantity
from references.rounding import FORMATS, Format

Array = NDArray[Any]
Number = TypeVar("Number", Array, float)


@dataclass(frozen=True, slots=True)
class Allowance:
    """allowed: per element, inf where nothing is promised.  source: where it comes from, for the reader."""

    allowed: Array
    source: str


def storage_rounding(reference: Number, stored: Format) -> Number:
    """What rounding on store alone may cost: u |ref| + eta; of an array, or of one number."""
    rounding: Number = stored.u * abs(reference) + stored.eta
    return rounding


def ulp(reference: Array, stored: Format) -> Array:
    """The distance between neighbouring numbers of the format at the reference."""
    size = np.abs(reference).astype(np.float64)
    _, exponent = np.frexp(size)
    spacing: Array = np.where(size < stored.tiny, stored.eta, np.ldexp(stored.u, exponent))  # frexp(0) is 0 * 2^0
    return spacing


def ulp_at(reference: float, stored: Format) -> float:
    """The same at a single number, without NumPy, which takes ten times as long for one."""
    size = abs(reference)
    return stored.eta if size < stored.tiny else ldexp(stored.u, frexp(size)[1])


def tolerance_for(case: Case, quantity: str) -> Tolerance | None:
    """The explicit tolerance of a case for a quantity; names in the case file may hold wildcards."""
    for pattern, tolerance in case.tolerance.items():
        if fnmatchcase(quantity, pattern):
            return tolerance
    return None


def allowance(quantity: Quantity, label: str, tolerance: Tolerance | None = None) -> Allowance:
    """d(Q) + u |Q| + eta, or what an explicit tolerance of the case file puts in its place."""
    stored = FORMATS[quantity.stored]
    model = quantity.scale + storage_rounding(quantity.value, stored)
    if tolerance is None:
        return Allowance(model, f"model, class {label}")
    source = f"tolerance, {tolerance.origin}"
    if tolerance.budget is not None:
        return Allowance(model * tolerance.budget, source)
    size = np.abs(quantity.value)
    allowed = (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * size
    if tolerance.ulp is not None:
        allowed = allowed + tolerance.ulp * ulp(quantity.value, stored)
    return Allowance(np.where(np.isinf(quantity.scale), np.inf, allowed), source)
