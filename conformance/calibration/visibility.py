"""Whether an error can be told from what stable implementations do, without any model.

An element is visibly wrong when its error is more than four times (eight times for gradients of parameters) the worst
error that the stable implementations make on the same data, plus the rounding on store.  So is NaN where all of them
have a number, even where the mathematics cannot say which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.rivals import decided
from conformance.judge.allowance import storage_rounding
from conformance.reference import build_reference
from conformance.suite.case import Case
from references.expected import Expected, Quantity
from references.normalisation import Normalisation
from references.rounding import FORMATS

Array = NDArray[Any]
FACTOR = 4.0
FACTOR_OF_PARAMETERS = 8.0


class Yardstick:
    """The worst errors of the stable implementations on one configuration, step by step and quantity by quantity."""

    def __init__(self, case: Case, steps: list[Expected], stable: Iterable[list[dict[str, Array]]]) -> None:
        self.case = case
        self.steps = steps
        rules = build_reference(case)
        self.fold = rules.fold(case.shape) if isinstance(rules, Normalisation) else None
        self.worst: list[dict[str, Array]] = [{} for _ in steps]
        self.numbers: list[dict[str, Array]] = [{} for _ in steps]  # where every implementation has one
        for raw in stable:
            for kept, numbers, expected, got in zip(self.worst, self.numbers, steps, raw, strict=True):
                for name, quantity in judged(expected):
                    clear = ~np.isnan(got[name])
                    numbers[name] = numbers[name] & clear if name in numbers else clear
                    error = self._spread(name, _error(quantity, got[name], stored=False))
                    kept[name] = np.maximum(kept[name], error) if name in kept else error

    def _spread(self, name: str, error: Array) -> Array:
        """The worst of what belongs together: of a slice, of a parameter, of a window's pixel; a buffer's own."""
        error = np.where(np.isnan(error), np.inf, error)
        if name.startswith("buffer."):
            return error
        if name.startswith("grad."):
            return np.broadcast_to(error.max(initial=0), error.shape)
        if self.fold is None:
            return np.broadcast_to(error.max(axis=1, keepdims=True), error.shape)
        return self.fold.unfold(self.fold.fold(error).max(axis=1, keepdims=True))

    def visible(self, got: Sequence[Mapping[str, Array]]) -> bool:
        """Whether any stored element of any step is visibly wrong."""
        return any(
            bool((np.isnan(step[name]) & numbers[name]).any()) or self._visible(name, quantity, kept[name], step[name])
            for kept, numbers, expected, step in zip(self.worst, self.numbers, self.steps, got, strict=True)
            for name, quantity in judged(expected)
            if name in step
        )

    def _visible(self, name: str, quantity: Quantity, worst: Array, got: Array) -> bool:
        factor = FACTOR_OF_PARAMETERS if name.startswith("grad.") else FACTOR
        with np.errstate(all="ignore"):
            error = _error(quantity, got, stored=True)
            limit = factor * worst + storage_rounding(quantity.value, FORMATS[quantity.stored])
            wrong = error > limit
        return bool((wrong & decided(quantity)).any())


def judged(expected: Expected) -> list[tuple[str, Quantity]]:
    """The floating-point quantities of a step."""
    return [(name, quantity) for name, quantity in expected.quantities.items() if quantity.stored != "int64"]


def _error(quantity: Quantity, got: Array, *, stored: bool) -> Array:
    """|got - value|; a stored infinity counts as the largest number that still rounds to a finite one."""
    storage = FORMATS[quantity.stored]
    largest = storage.max * (1 + storage.u)
    value, seen = quantity.value, got.astype(quantity.value.dtype)
    with np.errstate(all="ignore"):
        if stored:
            value = np.clip(value, -largest, largest)
            seen = np.where(np.isinf(seen), np.copysign(largest, seen), seen)
        error: Array = np.abs(seen - value)
    return np.where(decided(quantity), error, 0)
