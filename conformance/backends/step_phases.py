"""The steps of a case as graphs: which differ in more than their data, and what each is given and gives.

A step without an optimizer depends on its mode alone.  With one, the first update makes the momentum buffers and the
later ones move them, so these are two graphs; an eval step updates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from conformance.inputs import Inputs
from conformance.observation import Array, StepObservation
from conformance.ops import OPS
from conformance.suite.case import Case, Mode
from references.procedure import new_buffer


@dataclass(frozen=True, slots=True, order=True)
class Phase:
    """What a graph of a step depends on beside the layer and its sizes."""

    mode: Mode
    update: Literal["", "first", "later"] = ""


def phases(case: Case) -> tuple[Phase, ...]:
    """The phase of every step."""
    found: list[Phase] = []
    for mode in case.steps:
        if mode == "eval" or case.optimizer is None:
            found.append(Phase(mode))
        else:
            again = case.optimizer.momentum and any(phase.update for phase in found)
            found.append(Phase(mode, "later" if again else "first"))
    return tuple(found)


def given(case: Case, inputs: Inputs, before: Sequence[StepObservation], number: int) -> list[Array]:
    """What a graph is given at a step: data, and the parameters and buffers that came out of the step before."""
    last: Mapping[str, Array] = before[number - 1].arrays if number else {}
    buffers = {name: last.get(f"buffer.{name}", array) for name, array in inputs.buffers.items()}
    if number in case.resets:
        buffers = {name: new_buffer(name, array.shape, array.dtype) for name, array in buffers.items()}
    found = [inputs.steps[number].x, inputs.steps[number].grad_output]
    found += [last.get(f"param.{name}", array) for name, array in inputs.params.items()]
    found += buffers.values()
    if phases(case)[number].update == "later":
        found += [last[f"momentum.{name}"] for name in trainable(case)]
    return found


def results(case: Case, inputs: Inputs, phase: Phase) -> tuple[str, ...]:
    """The quantities that a graph gives, in order."""
    found = ["output", "grad_input", *(f"grad.{name}" for name in inputs.params)]
    found += [f"buffer.{name}" for name in inputs.buffers]
    if phase.update and case.optimizer is not None:
        found += [f"param.{name}" for name in trainable(case)]
        found += [f"momentum.{name}" for name in trainable(case) if case.optimizer.momentum]
    return tuple(found)


def untouched(case: Case, inputs: Inputs, before: Sequence[StepObservation], phase: Phase) -> dict[str, Array]:
    """Parameters and momentum buffers that a step under an optimizer leaves as they are, and that no graph gives."""
    if case.optimizer is None:
        return {}
    found = {f"param.{name}": array for name, array in inputs.params.items()}
    if before:
        found = {name: array for name, array in before[-1].arrays.items() if name.startswith(("param.", "momentum."))}
    moved = results(case, inputs, phase)
    return {name: array for name, array in found.items() if name not in moved}


def trainable(case: Case) -> tuple[str, ...]:
    """The parameters that an optimizer updates, in the order in which the op names them."""
    op = OPS[case.op]
    return tuple(name for name in op.parameters(case.args) if name not in op.frozen(case.args))
