"""Mistakes of rounding: no reference gives the very values, but the output shows the statistics that it was made with.

E[x^2] - E[x]^2 loses digits that depend on the order of every addition.  Slice by slice the output of a centred
normalisation is s (x - m) w + b, so a fit gives s, and s gives the variance that was used.  Where that is off by no
more than the rounding of E[x^2], and everything else follows from it within the usual allowance, the variance was
computed in one pass (Chan, Golub and LeVeque 1983, section 2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from conformance.diagnose.replica import Made, Replica
from conformance.observation import Array
from conformance.reference import build_reference
from references.mistakes import MISTAKES
from references.mistakes.catalogue import HALF, right
from references.mistakes.traced import Traced
from references.normalisation import Normalisation
from references.running import Running

ONE_PASS = "one-pass-variance"  # noqa: S105 - the name of a mistake


def one_pass(replica: Replica) -> Made:
    """The one-pass variance with the very variances that the output shows, or nothing where it shows none such."""
    case = replica.case
    reference = build_reference(case)
    if not isinstance(reference, Normalisation) or not reference.centred or case.dtype in HALF:
        return ()
    used: dict[bytes, Array] = {}
    for number, seen in enumerate(replica.observation.steps):
        if isinstance(reference, Running) and not reference.uses_batch(case.steps[number]):
            continue
        x, output = replica.inputs.steps[number].x, seen.arrays.get("output")
        if output is None or output.shape != x.shape or not x.size:
            return ()
        with np.errstate(all="ignore"):
            folded, variance, plausible = _variance(reference, x, output, replica.inputs.params)
        if not plausible:
            return ()
        used[_key(folded)] = variance

    def statistics(self: Any, x: Array, fold: Any) -> tuple[Array, Array]:
        m, v = right(self).statistics(x, fold)
        shown = used.get(_key(_values(x)))
        return m, v if shown is None else v + (shown - _values(v))  # and the derivative of v stays what it is

    if not used:
        return ()
    return (replace(MISTAKES[ONE_PASS], changes={"statistics": statistics}),)


def _key(x: Array) -> bytes:
    """What tells the batches apart; extended precision has bytes that mean nothing."""
    return x.astype(np.float64).tobytes()


def _values(x: Any) -> Array:
    """The array itself, where it is traced."""
    return x.value if isinstance(x, Traced) else np.asarray(x)


def _variance(reference: Normalisation, x: Array, output: Array, params: dict[str, Array]) -> tuple[Array, Array, bool]:
    """x in its slices, the variance that the output of each shows, and whether one pass could have lost so much."""
    fold, precision = reference.fold(x.shape), reference.precision
    folded = fold.fold(reference.read(x))
    m, v = reference.statistics(folded, fold)
    w, b = (fold.spread(params[name].astype(precision.reference)) if name in params else fallback
            for name, fallback in (("weight", np.ones_like(folded)), ("bias", np.zeros_like(folded))))  # fmt: skip
    xc, y = folded - m, fold.fold(output.astype(precision.reference)) - b
    s = (y * w * xc).sum(axis=1, keepdims=True) / (w * w * xc * xc).sum(axis=1, keepdims=True)
    variance = 1 / (s * s) - reference.real(reference.eps)
    lost = precision.U * (precision.A(fold.elements) + 4) * ((folded * folded).mean(axis=1, keepdims=True) + m * m)
    shown = np.isfinite(s)
    plausible = bool((np.abs(variance - v)[shown] <= lost[shown] + precision.U * 8 * v[shown]).all())
    return folded, np.where(shown, variance, v), plausible and bool(shown.any())
