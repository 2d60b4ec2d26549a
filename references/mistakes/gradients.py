"""The gradient of a wrong formula, as automatic differentiation gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.local_response_norm import LocalResponseNorm
from references.mistakes.traced import Traced, gradients
from references.normalisation import Forward, Normalisation

Array = NDArray[Any]


class _NormalisationDifferentiated:
    """Put before a normalisation: its own formula differentiated, in the place of the formulas of its gradients.

    x, gy: (slices, elements).  With running statistics mean and variance are constants.
    """

    def input_gradient(self, f: Forward, gy: Array, S1: Array, S2: Array) -> Array:
        return _of_normalisation(self, f, gy)[0]

    def constant_input_gradient(self, f: Forward, gy: Array) -> Array:
        return _of_normalisation(self, f, gy)[0]

    def weight_gradient(self, f: Forward, gy: Array) -> Array:
        return f.fold.gather(_of_normalisation(self, f, gy)[1])

    def bias_gradient(self, f: Forward, gy: Array) -> Array:
        return f.fold.gather(_of_normalisation(self, f, gy)[2])


def _of_normalisation(reference: Any, f: Forward, gy: Array) -> list[Array]:
    x = Traced(f.x)
    w, b = (Traced(np.broadcast_to(parameter, f.x.shape)) for parameter in (f.w, f.b))
    m, v = (f.m, f.v) if f.constant else reference.statistics(x, f.fold)
    xc = reference.centre(x, m, constant=f.constant)
    y = reference.affine(reference.normalise(xc, reference.inverse_std(v)), w, b)
    return gradients(y, gy, [x, w, b])


class _ResponseDifferentiated:
    """The same for local response normalisation; x, gy: (N, C, *spatial)."""

    def windowed(self, terms: Any, below: int, above: int) -> Any:
        right: Any = super().windowed  # type: ignore[misc]
        if not isinstance(terms, Traced):
            return right(terms, below, above)
        return Traced(right(terms.value, below, above), [(terms, lambda g: right(g, above, below))])

    def input_gradient(self: Any, x: Array, gy: Array, a: Array, beta: Any) -> Array:
        leaf = Traced(x)
        base = self.base(self.divisor(leaf))
        return gradients(leaf * base**-beta, gy, [leaf])[0]


def of_the_formula(made: type) -> type | None:
    """The mistaken reference with the derivative of its own output for gradients; None where there is no such way.

    Its steps raise references.mistakes.traced.UntraceableError where the formula rounds to so many bits.
    """
    for family, way in ((Normalisation, _NormalisationDifferentiated), (LocalResponseNorm, _ResponseDifferentiated)):
        if issubclass(made, family):
            return type(f"{made.__name__}, differentiated", (way, made), {})
    return None
