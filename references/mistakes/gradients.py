"""The gradient of a wrong formula, as automatic differentiation gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.activations import ReLU, Squashing
from references.expected import Mode, Quantity
from references.layer import Layer
from references.local_response_norm import LocalResponseNorm
from references.mistakes.traced import Traced, UntraceableError, gradients
from references.normalisation import Forward, Normalisation
from references.pooling import MaxPool2d

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
        right: Any = super().windowed  # type: ignore[misc]  # of what it is mixed into
        if not isinstance(terms, Traced):
            return right(terms, below, above)
        return Traced(right(terms.value, below, above), [(terms, lambda g: right(g, above, below))])

    def input_gradient(self: Any, x: Array, gy: Array, a: Array, beta: Any) -> Array:
        leaf = Traced(x)
        base = self.base(self.divisor(leaf))
        return gradients(leaf * base**-beta, gy, [leaf])[0]


class _LayerDifferentiated:
    """The same for every other layer, from differences of its own output.

    Activations are differentiated element by element, to sixth order.  The others are linear, or piecewise so, and a
    difference of two outputs is exact; it is taken for every element of the input and the parameters.
    """

    def quantities(self: Any, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        right: Any = super().quantities  # type: ignore[misc]  # of what it is mixed into
        found: dict[str, Quantity] = right(x, gy, params, mode)

        def output(changed: Mapping[str, Array]) -> Array:
            rest = {name: value for name, value in changed.items() if name != "x"}
            value: Array = right(changed["x"], gy, rest, mode)["output"].value
            return value

        leaves = {"x": x, **params}
        if isinstance(self, ReLU | Squashing):
            gradient = {"x": _slope(lambda moved: output({"x": moved}), x) * gy}
        else:
            step = 1e-7 if isinstance(self, MaxPool2d) else 2.0**-8
            gradient = _by_differences(output, leaves, gy, step)
        for name, value in gradient.items():
            place = "grad_input" if name == "x" else f"grad.{name}"
            if place in found:
                found[place] = replace(found[place], value=value)
        return found


def _slope(value: Callable[[Array], Array], x: Array) -> Array:
    """The derivative by element from six neighbours (Fornberg 1988, table 1)."""
    h = 2.0**-7 * np.maximum(1, np.abs(x))
    weights = (45 / 60, -9 / 60, 1 / 60)
    return sum((value(x + k * h) - value(x - k * h)) * (c / h) for k, c in enumerate(weights, 1)) + np.zeros_like(x)


#: Elements of input and parameters for which differences are taken.
_DIFFERENCES = 320


def _by_differences(
    output: Callable[[Mapping[str, Array]], Array], leaves: Mapping[str, Array], gy: Array, step: float
) -> dict[str, Array]:
    if sum(leaf.size for leaf in leaves.values()) > _DIFFERENCES:
        raise UntraceableError("too many elements for differences")
    found = {}
    for name, leaf in leaves.items():
        gradient = np.zeros_like(leaf)
        for place in np.ndindex(leaf.shape):
            moved = [leaf.copy(), leaf.copy()]
            moved[0][place] += step
            moved[1][place] -= step
            up, down = (output({**leaves, name: each}) for each in moved)
            gradient[place] = (gy * (up - down)).sum() / (moved[0][place] - moved[1][place])
        found[name] = gradient
    return found


_WAYS: dict[type, type] = {
    Normalisation: _NormalisationDifferentiated,
    LocalResponseNorm: _ResponseDifferentiated,
    Layer: _LayerDifferentiated,
}


def of_the_formula(made: type) -> type | None:
    """The mistaken reference with the derivative of its own output for gradients; None where there is no such way.

    Its steps raise references.mistakes.traced.UntraceableError where the formula rounds to so many bits.
    """
    for family, way in _WAYS.items():
        if issubclass(made, family):
            return type(f"{made.__name__}, differentiated", (way, made), {})
    return None
