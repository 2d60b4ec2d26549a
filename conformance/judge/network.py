"""Judging a network in a run: every module from its own tensors, what goes between them, and the whole from outside.

Each call is judged by the layer that the definition of the network has in its place, with the tensors that the backend
itself put in taken as exact, and with the buffers that it had before the step.  By induction the whole network is then
right, with no error carried from module to module.  The judgement from outside comes beside it where it is sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from conformance.captured import Captured
from conformance.composition import end_to_end_holds, layer_reference, nodes_of
from conformance.inputs import Inputs
from conformance.inputs.make import StepInputs
from conformance.judge.allowance import tolerance_for
from conformance.judge.compare import compare
from conformance.judge.course import Course, State, update_figures
from conformance.judge.end_to_end import judge_step
from conformance.judge.expectation import Expectation
from conformance.judge.local import call_figures
from conformance.judge.wiring import Calls, Wiring
from conformance.observation import Array, Observation, StepObservation
from conformance.ops import OPS, Node
from conformance.ops.entry import INPUT, Shape
from conformance.record import Figure
from conformance.suite.case import Case, Mode
from references.dropout import Dropout
from references.expected import Reference
from references.rounding import Class, precision


def network_figures(
    case: Case, expectation: Expectation, observation: Observation, observes: tuple[str, ...], label: Class
) -> Iterator[Figure]:
    """All figures of all steps: of modules or of the nodes of a graph, where the backend shows them, and end to end."""
    judge = _Modules(case, expectation.inputs, label)
    course = Course(case, expectation.inputs)
    for number, (mode, seen) in enumerate(zip(case.steps, observation.steps, strict=True)):
        at = course.before(number)
        if seen.modules:
            yield from judge.step(number, mode, seen, at)
        if not observes or "param.".startswith(observes):
            yield from update_figures(case, at, seen, number, label)
        course.after(seen)
        for call in seen.nodes:
            yield from call_figures(call, label if label != "A" else call.label, number)
    if end_to_end_holds(case):
        steps = expectation.steps_for(observation, label)
        for number, (expected, seen) in enumerate(zip(steps, observation.steps, strict=True)):
            for name, quantity in expected.quantities.items():
                if not expectation.wanted(name) or (observes and not name.startswith(observes)):
                    continue
                if name in seen.arrays:
                    yield judge_step(name, quantity, seen.arrays[name], number)
                else:
                    yield _nothing(name, number)


def is_judged(case: Case, observation: Observation) -> bool:
    """Whether the figures of an observation, where none is bad, say that it is the network.

    That every node of a graph computes what it says does not say that the graph is the network.
    """
    return end_to_end_holds(case) or all(step.modules for step in observation.steps)


def is_local(figure: Figure) -> bool:
    """Whether a figure is of one module; a network as a whole has quantities without a title."""
    return " (" in figure.quantity


def worst_of_each(figures: Iterable[Figure]) -> Iterator[Figure]:
    """All figures that fail; of the others the first of each module, and of the gradients and buffers of the whole.

    A network has a hundred quantities, and a record is kept for each of thousands of cases.
    """
    seen: set[str] = set()
    for figure in figures:
        what = figure.quantity
        group = what.partition(")")[0] if is_local(figure) else what.partition(".")[0]
        if not figure.ok or group not in seen:
            yield figure
        seen.add(group)


class _Modules:
    """Judges the modules of a network, step by step."""

    def __init__(self, case: Case, inputs: Inputs, label: Class) -> None:
        self._case = case
        self._inputs = inputs
        self._label: Class = label
        self._nodes = nodes_of(case)
        self._references: dict[str, Reference] = {
            node.key: layer_reference(case, node, label) for node in self._nodes if node.op in OPS
        }
        self._shapes = _shapes(self._nodes, case.shape)
        self._at = State(inputs.params, inputs.buffers, {})

    def step(self, number: int, mode: Mode, seen: StepObservation, at: State) -> Iterator[Figure]:
        """One step, from the parameters and buffers that the backend had before it."""
        self._at = at
        given = self._inputs.steps[number]
        known = {node.key: node for node in self._nodes}
        calls: dict[str, Captured] = {}
        for call in seen.modules:
            key = f"{call.name}#{call.call}" if call.call else call.name
            if key in known and call.x is not None:
                calls[key] = call
            elif call.x is not None:
                yield _wrong(str(call), number, "a call", "no such call in this network")
        for node in self._nodes:
            if node.op in OPS:
                yield from self._local(node, number, mode, calls, seen)
        yield from self._wiring(number, given, calls, seen)

    def _wiring(self, number: int, given: StepInputs, calls: Calls, seen: StepObservation) -> Iterator[Figure]:
        wiring = Wiring(
            self._nodes, calls, given.x, given.grad_output, precision(self._case.dtype, self._label), number
        )
        return wiring.figures(seen.arrays, wants_grad_input=self._case.requires_grad)

    def _local(self, node: Node, number: int, mode: Mode, calls: Calls, seen: StepObservation) -> Iterator[Figure]:
        call = calls.get(node.key)
        if call is None or call.x is None:
            yield _wrong(node.title, number, "no call", "a call of this module")
            return
        source, target = self._shapes[node.inputs[0]], self._shapes[node.key]
        if call.x.shape != source or call.x.dtype.name != self._case.dtype:
            found = f"{call.x.dtype.name} of shape {list(call.x.shape)}"
            yield _wrong(f"{node.title} input", number, found, f"{self._case.dtype} of shape {list(source)}")
            return
        upstream = call.grad_output
        if upstream is None or upstream.shape != target:  # the wiring tells
            upstream = np.zeros(target, call.x.dtype)
        reference = self._references[node.key]
        state = reference.initial(_own(self._at.buffers, node.name))
        if isinstance(reference, Dropout):  # random: what follows from the mask that its output shows
            expected = reference.given(call.x, upstream, call.arrays, mode)
        else:
            expected = reference.step(call.x, upstream, _own(self._at.params, node.name), state, mode)
        arrays = self._arrays(node, call.arrays, seen)
        for name, quantity in expected.quantities.items():
            full = f"{node.title} {name}"
            if name in arrays:
                tolerance = tolerance_for(self._case, full)
                yield compare(full, quantity, arrays[name], number, expected, self._label, tolerance)
            elif not (name == "grad_input" and node.inputs == (INPUT,) and not self._case.requires_grad):
                yield _nothing(full, number)

    def _arrays(self, node: Node, captured: Mapping[str, Array], seen: StepObservation) -> dict[str, Array]:
        """What a call gave; the gradients and buffers that the network shows in the end go before what was captured.

        A module that is called several times shows its sums alone, so there the captured ones stay.
        """
        arrays = dict(captured)
        if sum(other.name == node.name for other in self._nodes) > 1:
            return arrays
        for kind in ("grad", "buffer"):
            own = _own(seen.arrays, f"{kind}.{node.name}")
            arrays |= {f"{kind}.{name}": array for name, array in own.items()}
        return arrays


def _shapes(nodes: tuple[Node, ...], shape: Shape) -> dict[str, Shape]:
    """The shape of what each node gives."""
    shapes = {INPUT: shape}
    for node in nodes:
        given = [shapes[key] for key in node.inputs]
        if node.op == "concat":
            shapes[node.key] = (given[0][0], sum(each[1] for each in given), *given[0][2:])
        elif node.op == "add":
            shapes[node.key] = given[0]
        else:
            shapes[node.key] = OPS[node.op].output_shape(node.args, given[0])
    return shapes


def _own(named: Mapping[str, Array], module: str) -> dict[str, Array]:
    prefix = f"{module}."
    return {name.removeprefix(prefix): array for name, array in named.items() if name.startswith(prefix)}


def _nothing(name: str, step: int) -> Figure:
    return _wrong(name, step, "nothing", "an array")


def _wrong(name: str, step: int, got: str, expected: str) -> Figure:
    return Figure(quantity=name, step=step, budget=None, got=got, expected=expected, source="structure", ok=False)
