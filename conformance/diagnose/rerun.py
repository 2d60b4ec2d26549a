"""A mistaken reference, run step by step beside an observation, and whether it gives what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from conformance.inputs import Inputs
from conformance.judge.allowance import storage_rounding
from conformance.observation import Array, Observation
from conformance.reference import build_reference
from conformance.suite.case import Case
from references.dropout import Dropout
from references.expected import Expected, Quantity
from references.mistakes.traced import UntraceableError
from references.normalisation import Normalisation
from references.procedure import Procedure
from references.rounding import FORMATS, STORAGE, Class

#: A mistake that moves a value by less than this many allowances cannot be seen in it.
VISIBLE = 4.0
#: At half of the values that are over their allowance, the mistake's own allowance must be so much smaller than the
#: error, unless it is not much wider than the right one.
_SHARPNESS, _INFLATED = 0.5, 4.0


class Rerun:
    """The steps of a case under a reference, each computed when it is first asked for.

    Each starts from the buffers, parameters and momenta that the backend itself had, as far as it shows them.
    """

    def __init__(self, of: type, case: Case, inputs: Inputs, observation: Observation, label: Class = "A") -> None:
        self._reference = build_reference(case, label, of=of)
        self._forward = None
        if issubclass(of, Normalisation) and case.optimizer is None:
            plain: type = of  # mypy takes a narrowed class for unhashable
            self._forward = build_reference(case, label, of=_without_gradients(plain))
        self._case = case
        self._inputs = inputs
        self._observation = observation
        self._steps: dict[tuple[int, bool], Expected | None] = {}

    def quantity(self, step: int, name: str) -> Quantity | None:
        """What this reference gives; None where it has no such quantity, or cannot be computed at all."""
        expected = self.step(step, gradients=not name.startswith(("output", "buffer.")))
        return None if expected is None else expected.quantities.get(name)

    def step(self, number: int, *, gradients: bool = True) -> Expected | None:
        """One step; None where the mistakes do not fit together or the formula has no derivative.

        gradients: whether they are asked for; without them, a step takes half the time.
        """
        whole = gradients or self._forward is None
        if not whole and self._steps.get((number, True)) is not None:
            whole = True  # it is there already
        if (number, whole) not in self._steps:
            self._steps[number, whole] = self._computed(number, whole=whole)
        return self._steps[number, whole]

    def _computed(self, number: int, *, whole: bool) -> Expected | None:
        state = self._before(number)
        if state is None:
            return None
        reference = self._reference if whole or self._forward is None else self._forward
        given, mode = self._inputs.steps[number], self._case.steps[number]
        try:
            with np.errstate(all="ignore"):
                if isinstance(self._reference, Dropout):  # the mask is the one that the output shows
                    return self._reference.given(
                        given.x, given.grad_output, self._observation.steps[number].arrays, mode
                    )
                return reference.step(given.x, given.grad_output, self._inputs.params, state, mode)
        except (ValueError, IndexError, ZeroDivisionError, UntraceableError):
            return None

    def _before(self, number: int) -> Mapping[str, Quantity] | None:
        first = self._reference.initial(self._inputs.buffers)
        if number == 0:
            return first
        seen = self._observation.steps[number - 1].arrays
        procedure = self._reference if isinstance(self._reference, Procedure) else None
        layer = procedure.layer if procedure is not None else self._reference
        names = [name for name in self._inputs.buffers if name in first]
        own = {
            name: array
            for name in names
            if (array := seen.get(f"buffer.{name}")) is not None and array.dtype == STORAGE[first[name].stored]
        }
        if len(own) == len(names) and procedure is None:
            return layer.initial(own)
        expected = self.step(number - 1, gradients=False)
        if expected is None:
            return None
        state = dict(expected.state)
        if procedure is not None:
            state = procedure.forced(state, seen)
        return state | layer.initial(own)


@lru_cache(maxsize=256)
def _without_gradients(of: type) -> type:
    """A normalisation that leaves its backward pass out."""
    return type(of.__name__, (of,), {"_backward": lambda _self, _forward, _grad_output, _params: {}})


def reproduces(quantity: Quantity, got: Array, right: Quantity | None = None) -> bool:
    """Whether every value lies within the allowance around the quantity, and that allowance says something.

    right: what is right, where the quantity is mistaken.  Its allowance says nothing where it is infinite though the
    right one is not, or where it would swallow an error that the right one does not.
    """
    if got.shape != quantity.value.shape or got.dtype != STORAGE[quantity.stored]:
        return False
    if quantity.stored == "int64":
        return bool((got == quantity.value).all())
    with np.errstate(all="ignore"):
        error, allowed, classes = _error(quantity, got)
        if not classes.all() or (error > allowed).any():
            return False
        if right is None or quantity is right or right.value.shape != got.shape:
            return True
        error_of_right, allowed_by_right, _ = _error(right, got)
        blunt = np.isposinf(quantity.scale) & ~np.isposinf(right.scale)
        inflated = allowed > _INFLATED * allowed_by_right
        over = error_of_right > allowed_by_right
        swallowed = over & (allowed > _SHARPNESS * error_of_right) & inflated
        return not blunt.any() and bool(np.count_nonzero(swallowed) <= np.count_nonzero(over) / 2)


def _error(quantity: Quantity, got: Array) -> tuple[Array, Array, Array]:
    """|got - value|, what is allowed, and whether the class (NaN or number) is the expected one; by element."""
    stored = FORMATS[quantity.stored]
    largest = stored.max * (1 + stored.u)
    value = np.clip(quantity.value, -largest, largest)
    seen = got.astype(value.dtype)
    seen = np.where(np.isinf(seen), np.copysign(largest, seen), seen)
    nothing_promised = np.isposinf(quantity.scale)
    nan, got_nan = np.isnan(value) & ~nothing_promised, np.isnan(seen)
    classes = nothing_promised | (nan == got_nan) | (nan & quantity.any_nonfinite & np.isinf(got))
    allowed = quantity.scale + storage_rounding(value, stored)
    error = np.where(nan | nothing_promised | got_nan, 0, np.abs(seen - value))
    return error, np.where(np.isnan(allowed), np.inf, allowed), classes


def differs(right: Quantity, wrong: Quantity | None) -> bool:
    """Whether no observation within the allowance of the one could be within that of the other."""
    if wrong is None or right.value.shape != wrong.value.shape:
        return True
    if right.stored == "int64":
        return bool((right.value != wrong.value).any())
    with np.errstate(all="ignore"):
        stored = FORMATS[right.stored]
        largest = stored.max * (1 + stored.u)
        one, other = np.clip(right.value, -largest, largest), np.clip(wrong.value, -largest, largest)
        allowed = right.scale + storage_rounding(one, stored)
        nan = np.isnan(one) != np.isnan(other)
        far = np.abs(one - other) > VISIBLE * allowed + np.where(np.isnan(wrong.scale), 0, wrong.scale)
        return bool(((nan & ~np.isinf(right.scale)) | far).any())
