"""The course of a schedule as a backend itself went it: what it had before each step, and whether it updated rightly.

A network is judged from its own tensors, so each step starts from the parameters, momentum buffers and running
statistics that the backend had, and an update from the gradient that it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from conformance.inputs import Inputs
from conformance.judge.allowance import tolerance_for
from conformance.judge.compare import compare
from conformance.observation import Array, StepObservation
from conformance.ops import OPS
from conformance.record import Figure
from conformance.suite.case import Case
from references.expected import Expected, Quantity
from references.procedure import new_buffer
from references.rounding import Class
from references.sgd import SGD


@dataclass(frozen=True, slots=True)
class State:
    """Parameters, buffers and momentum buffers before a step, by dotted names."""

    params: Mapping[str, Array]
    buffers: Mapping[str, Array]
    momenta: Mapping[str, Array]


class Course:
    """What a backend had before each step, as far as it shows it; what it does not show stays as it was."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        self._resets = frozenset(case.resets)
        self._params, self._buffers = dict(inputs.params), dict(inputs.buffers)
        self._momenta: dict[str, Array] = {}

    def before(self, number: int) -> State:
        """What it had before the step of this number; a reset makes its buffers those of a new network."""
        if number in self._resets:
            self._buffers = {name: new_buffer(name, old.shape, old.dtype) for name, old in self._buffers.items()}
        return State(dict(self._params), dict(self._buffers), dict(self._momenta))

    def after(self, seen: StepObservation) -> None:
        """Take over what a step left."""
        kept = {"param": self._params, "buffer": self._buffers, "momentum": self._momenta}
        for name, array in seen.arrays.items():
            kind, _, own = name.partition(".")
            if own and kind in kept:
                kept[kind][own] = array


def update_figures(case: Case, at: State, seen: StepObservation, number: int, label: Class) -> Iterator[Figure]:
    """The figures of parameters and momentum buffers after a step; none where the case has no optimizer.

    The gradient is the backend's own and counts as exact, for it is judged elsewhere.
    """
    if case.optimizer is None:
        return
    trains = case.steps[number] == "train"
    for name, before in at.params.items():
        gradient, momentum = seen.arrays.get(f"grad.{name}"), at.momenta.get(name)
        expected = {f"param.{name}": _exact(before)}
        if momentum is not None:
            expected[f"momentum.{name}"] = _exact(momentum)
        if trains and gradient is not None and name not in OPS[case.op].frozen(case.args):
            sgd = SGD(**case.optimizer.formula, param_dtype=before.dtype.name, label=label)
            updated = sgd.update(before, _exact(gradient), momentum)
            expected[f"param.{name}"] = updated.param
            if updated.buffer is not None:
                expected[f"momentum.{name}"] = updated.buffer
        for quantity, wanted in expected.items():
            if quantity in seen.arrays:
                tolerance = tolerance_for(case, quantity)
                yield compare(quantity, wanted, seen.arrays[quantity], number, _ALONE, label, tolerance)
            else:
                yield _nothing(quantity, number)


_ALONE = Expected({}, {})


def _exact(array: Array) -> Quantity:
    return Quantity(array.astype(np.float64), np.zeros(array.shape), array.dtype.name)


def _nothing(quantity: str, step: int) -> Figure:
    return Figure(
        quantity=quantity, step=step, budget=None, got="nothing", expected="an array", source="structure", ok=False
    )
