r"""A network composed of its layers' references.

Forward, every stage takes the values of the stages before it; backward, the gradient of a value is the sum of what all
its uses send back (the chain rule; Rumelhart, Hinton and Williams 1986).  Beside layers there are two joins:

.. math::
    y = a + b, \quad \bar a = \bar b = \bar y \qquad\text{and}\qquad y = [a; b] \text{ along axis 1}, \quad
    [\bar a; \bar b] = \bar y

The error scales here are those of one operation each, with exact inputs.  What the operations before it contribute is
found by disturbing all of them (conformance.judge.end_to_end).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Expected, Mode, Quantity, Reference
from references.rounding import Precision

Array = NDArray[Any]

#: (key of the stage, name of the quantity, the quantity, the stage's reference or None) -> the quantity in its place
Disturb = Callable[[str, str, Quantity, Reference | None], Quantity]

#: key of what goes into the network
INPUT = ""


def undisturbed(key: str, name: str, quantity: Quantity, reference: Reference | None) -> Quantity:  # noqa: ARG001 - a Disturb
    """Every operation as it should be."""
    return quantity


@dataclass(frozen=True, slots=True)
class Stage:
    """One operation of a network.

    key: unique.  name: of the module, which prefixes its parameters and buffers.  inputs: keys of earlier stages, or
    INPUT.  reference: of a layer; None for a join, which ``join`` names ("add" or "concat").
    output_shape: the shape of the output from that of the input.
    """

    key: str
    name: str
    inputs: tuple[str, ...]
    reference: Reference | None = None
    join: str = ""
    output_shape: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple


class Network:
    """The reference of a network; the last stage gives its output.

    dtype: storage format of the tensors between the layers.
    """

    def __init__(self, stages: Sequence[Stage], dtype: str, precision: Precision) -> None:
        self.stages = tuple(stages)
        self.dtype = dtype
        self.precision = precision

    def initial(self, buffers: Mapping[str, Array]) -> dict[str, Quantity]:
        """The state before the first step, by dotted names; the buffers are exact."""
        state: dict[str, Quantity] = {}
        for stage in self.stages:
            if stage.reference is not None:
                own = stage.reference.initial(_own(buffers, stage.name))
                state |= {f"{stage.name}.{name}": buffer for name, buffer in own.items()}
        return state

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        """One forward and backward.

        x: the shape of the network's input; grad_output: that of its output.  params, state: by dotted names.
        """
        return self.evaluate(x, grad_output, params, state, mode, undisturbed)

    def evaluate(
        self,
        x: Array,
        grad_output: Array,
        params: Mapping[str, Array],
        state: Mapping[str, Quantity],
        mode: Mode,
        disturb: Disturb,
    ) -> Expected:
        """One step in which ``disturb`` may put an error into every result of every operation.

        The quantities are ``output``, ``grad_input``, ``grad.NAME`` and ``buffer.NAME``, with dotted names.
        """
        with np.errstate(all="ignore"):
            return _Pass(self, params, state, mode, disturb).run(x, grad_output)


class _Pass:
    """One forward and backward through a network."""

    def __init__(
        self, network: Network, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode, disturb: Disturb
    ) -> None:
        self.network = network
        self.params = params
        self.state = state
        self.mode = mode
        self.disturb = disturb
        self.values: dict[str, Array] = {}
        self.quantities: dict[str, Quantity] = {}
        self.after = dict(state)
        self.undetermined = 0.0

    def run(self, x: Array, grad_output: Array) -> Expected:
        self.values[INPUT] = x.astype(self.network.precision.reference)
        for stage in self.network.stages:
            output = self._forward(stage)
            self.values[stage.key] = output.value
            self.quantities["output"] = output  # the last one stays
        returned: dict[str, list[Array]] = defaultdict(list)
        returned[self.network.stages[-1].key].append(grad_output.astype(self.network.precision.reference))
        for stage in reversed(self.network.stages):
            if stage.key in returned:
                self._backward(stage, self._sum(stage.key, returned[stage.key]).value, returned)
        self.quantities["grad_input"] = self._sum(INPUT, returned[INPUT])
        self.quantities |= {f"buffer.{name}": buffer for name, buffer in self.after.items()}
        return Expected(self.quantities, self.after, undetermined_slices=self.undetermined)

    def _layer(self, stage: Stage, grad_output: Array) -> Expected:
        assert stage.reference is not None
        x = self.values[stage.inputs[0]]
        return stage.reference.step(
            x, grad_output, _own(self.params, stage.name), _own(self.state, stage.name), self.mode
        )

    def _forward(self, stage: Stage) -> Quantity:
        given = [self.values[key] for key in stage.inputs]
        if stage.join:
            joined = given[0] + given[1] if stage.join == "add" else np.concatenate(given, axis=1)
            return self.disturb(stage.key, "output", self._joined(joined, roundings=stage.join == "add"), None)
        # the gradient is not known yet; any will do, since only the forward half is used
        expected = self._layer(stage, np.zeros(stage.output_shape(given[0].shape)))
        self.undetermined = max(self.undetermined, expected.undetermined_slices)
        for name, buffer in expected.state.items():
            disturbed = self.disturb(stage.key, f"buffer.{name}", buffer, stage.reference)
            self.after[f"{stage.name}.{name}"] = Quantity(disturbed.value, np.zeros_like(buffer.scale), buffer.stored)
        return self.disturb(stage.key, "output", expected.quantities["output"], stage.reference)

    def _backward(self, stage: Stage, grad_output: Array, returned: dict[str, list[Array]]) -> None:
        if stage.join == "add":
            for key in stage.inputs:
                returned[key].append(grad_output)
            return
        if stage.join:
            ends = np.cumsum([self.values[key].shape[1] for key in stage.inputs])[:-1]
            for key, part in zip(stage.inputs, np.split(grad_output, ends, axis=1), strict=True):
                returned[key].append(part)
            return
        expected = self._layer(stage, grad_output)
        for name, gradient in expected.quantities.items():
            if name.startswith("grad."):
                disturbed = self.disturb(stage.key, name, gradient, stage.reference)
                self.quantities[f"grad.{stage.name}.{name.removeprefix('grad.')}"] = disturbed
        gradient = self.disturb(stage.key, "grad_input", expected.quantities["grad_input"], stage.reference)
        returned[stage.inputs[0]].append(gradient.value)

    def _sum(self, key: str, terms: Sequence[Array]) -> Quantity:
        """The gradient of a value: what all its uses send back, each addition rounded once."""
        total = self._joined(sum(terms[1:], start=terms[0]), roundings=len(terms) - 1)
        return self.disturb(key, "grad_output", total, None) if len(terms) > 1 else total

    def _joined(self, value: Array, *, roundings: int) -> Quantity:
        return Quantity(value, roundings * self.network.precision.U * np.abs(value), self.network.dtype)


def _own(named: Mapping[str, Any], module: str) -> dict[str, Any]:
    """What belongs to a module, without its name: ``{"conv1.weight": w}`` -> ``{"weight": w}``."""
    prefix = f"{module}."
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
