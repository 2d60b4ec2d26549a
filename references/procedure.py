"""Layers under a procedure: an optimizer updates the parameters after train steps, buffers are reset between steps.

The state of the layer is carried on with what the procedure adds to it: the parameters, their momentum buffers, and the
number of the step.  What is allowed for a parameter after an update is one update's error: the parameters before it
count as exact.  So a schedule is judged step by step from the parameters that the backend itself had (``forced``); on
its own, the reference goes on from its own parameters, rounded as they are stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Expected, Mode, Quantity, Reference
from references.rounding import STORAGE
from references.sgd import SGD

Array = NDArray[Any]
_NUMBER = "procedure.step"


class Procedure:
    """A reference in the place of that of the layer alone.

    resets: numbers of the steps, from 0, before which the buffers become those of a new layer.
    optimizer: updates the parameters after every train step; None leaves them.
    """

    def __init__(self, layer: Reference, resets: Collection[int], optimizer: SGD | None) -> None:
        self.layer = layer
        self.resets = frozenset(resets)
        self.optimizer = optimizer

    def __getattr__(self, name: str) -> Any:
        """Everything else is the layer's own."""
        if name.startswith("__"):
            raise AttributeError(name)  # or a copy under way would ask for a layer that it does not have yet
        return getattr(self.layer, name)

    def initial(self, buffers: Mapping[str, Array]) -> dict[str, Quantity]:
        """The state before the first step: exact buffers, and parameters as they are given to it."""
        number = np.array(0, np.int64)
        return self.layer.initial(buffers) | {_NUMBER: Quantity(number, np.zeros((), np.float64), "int64")}

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        """One forward, backward and, in train mode, update; ``params`` are those before the first step."""
        number = state[_NUMBER]
        own = {
            name: quantity for name, quantity in state.items() if not name.startswith(("param.", "momentum.", _NUMBER))
        }
        if int(number.value) in self.resets:
            own = self.layer.initial(
                {name: new_buffer(name, each.value.shape, STORAGE[each.stored]) for name, each in own.items()}
            )
        current = {name: state[f"param.{name}"].value if f"param.{name}" in state else params[name] for name in params}
        expected = self.layer.step(x, grad_output, current, own, mode)
        trained = self._trained(expected, current, state, mode)
        after = dict(expected.state) | {name: _kept(quantity) for name, quantity in trained.items()}
        after[_NUMBER] = replace(number, value=number.value + 1)
        return replace(expected, quantities=expected.quantities | trained, state=after)

    def _trained(
        self, expected: Expected, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> dict[str, Quantity]:
        """Parameters and momentum buffers after the step; none where there is no optimizer."""
        if self.optimizer is None:
            return {}
        found = {}
        for name, param in params.items():
            before = state.get(f"momentum.{name}")
            gradient = expected.quantities.get(f"grad.{name}")
            if mode == "eval" or gradient is None:  # a frozen parameter has no gradient
                found[f"param.{name}"] = _untouched(param, self.optimizer.param_dtype)
                if before is not None:
                    found[f"momentum.{name}"] = _untouched(before.value, self.optimizer.param_dtype)
                continue
            updated = self.optimizer.update(param, gradient, None if before is None else before.value)
            found[f"param.{name}"] = updated.param
            if updated.buffer is not None:
                found[f"momentum.{name}"] = updated.buffer
        return found

    @staticmethod
    def forced(state: Mapping[str, Quantity], arrays: Mapping[str, Array]) -> dict[str, Quantity]:
        """The state with the parameters and momentum buffers that a backend had after the step, where it shows them."""
        taken = dict(state)
        for name, quantity in state.items():
            seen = arrays.get(name) if name.startswith(("param.", "momentum.")) else None
            if seen is not None and seen.shape == quantity.value.shape:
                taken[name] = _untouched(seen, quantity.stored)
        return taken


def new_buffer(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A buffer as reset_running_stats leaves it: variance 1, mean and count 0."""
    return np.full(shape, 1 if name.endswith("running_var") else 0, dtype)


def _untouched(value: Array, stored: str) -> Quantity:
    return Quantity(value, np.zeros(value.shape, np.float64), stored)


def _kept(quantity: Quantity) -> Quantity:
    """What is carried on: the value as it is stored, without error."""
    with np.errstate(all="ignore"):
        value = quantity.value.astype(np.float32) if quantity.stored == "bfloat16" else quantity.value
        return _untouched(value.astype(STORAGE[quantity.stored]), quantity.stored)
