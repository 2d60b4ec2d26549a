"""What the references say about a case: run once, for all backends, and again only for a declared precision class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from conformance.composition import build_network, end_to_end_holds
from conformance.inputs import Inputs
from conformance.judge.course import Course
from conformance.judge.end_to_end import expected_steps
from conformance.judge.law import steps_given
from conformance.observation import Observation
from conformance.ops import OPS
from conformance.reference import build_reference, reference_class
from conformance.suite.case import Case
from references.expected import Expected, run
from references.procedure import Procedure
from references.rounding import Class


class Memory(Protocol):
    """Where expected steps may have been kept by an earlier run; see conformance.reference_cache."""

    def key(self, case: Case, inputs: Inputs, label: Class, variant: str) -> str | None:
        """What to ask for; None where nothing is kept."""

    def get(self, key: str) -> list[Expected] | None:
        """The steps, without their states; None where there are none."""

    def put(self, key: str, steps: Sequence[Expected]) -> None:
        """Keep them."""


class Expectation:
    """The expected steps of one case, computed when first asked for and kept.

    ``remembered`` says whether any of them come from the memory, and not from the references just now.
    """

    def __init__(self, case: Case, inputs: Inputs, memory: Memory | None = None) -> None:
        self.case = case
        self.inputs = inputs
        self.remembered = False
        self._memory = memory
        self._believes = True
        self._steps: dict[tuple[Class, str], list[Expected]] = {}

    def doubt(self) -> None:
        """Forget what was remembered, and compute everything from now on, in the memory's place too."""
        self.remembered = self._believes = False
        self._steps.clear()

    def steps(self, label: Class = "A", variant: str = "") -> list[Expected]:
        """One Expected per step, under a precision class and, where one is named, another definition of the op."""
        if (label, variant) not in self._steps:
            self._steps[label, variant] = self._recalled(label, variant)
        return self._steps[label, variant]

    def _recalled(self, label: Class, variant: str) -> list[Expected]:
        key = None if self._memory is None else self._memory.key(self.case, self.inputs, label, variant)
        if self._memory is None or key is None:
            return self._computed(label, variant)
        found = self._memory.get(key) if self._believes else None
        if found is not None:
            self.remembered = True
            return found
        steps = self._computed(label, variant)
        self._memory.put(key, steps)
        return steps

    def _computed(self, label: Class, variant: str) -> list[Expected]:
        batches = [(step.x, step.grad_output) for step in self.inputs.steps]
        params, buffers, modes = self.inputs.params, self.inputs.buffers, self.case.steps
        if end_to_end_holds(self.case):
            return expected_steps(build_network(self.case, label), batches, modes, (params, buffers), self.case.key)
        reference = build_reference(self.case, label, of=reference_class(self.case.op, variant))
        return run(reference, batches, params, buffers, modes)

    def steps_for(self, observation: Observation, label: Class = "A", variant: str = "") -> list[Expected]:
        """What is expected of the steps that a backend took.

        Under an optimizer every step starts from the parameters that the backend itself had, as far as it shows them:
        the allowance is that of one update, and the first step that went wrong is the first to be told.
        """
        if OPS[self.case.op].judged == "law":
            return steps_given(self.case, self.inputs, observation, label)
        if (self.case.optimizer is not None or self.case.resets) and end_to_end_holds(self.case):
            return self._network_steps(observation, label)
        if self.case.optimizer is None:
            return self.steps(label, variant)
        reference = build_reference(self.case, label, of=reference_class(self.case.op, variant))
        assert isinstance(reference, Procedure)
        state, results = reference.initial(self.inputs.buffers), []
        for given, mode, seen in zip(self.inputs.steps, self.case.steps, observation.steps, strict=True):
            results.append(reference.step(given.x, given.grad_output, self.inputs.params, state, mode))
            state = reference.forced(results[-1].state, seen.arrays)
        return results

    def _network_steps(self, observation: Observation, label: Class) -> list[Expected]:
        """Each step of a network by itself, from the parameters and buffers that the backend had before it."""
        network, course = build_network(self.case, label), Course(self.case, self.inputs)
        results: list[Expected] = []
        for number, (given, mode) in enumerate(zip(self.inputs.steps, self.case.steps, strict=True)):
            at, key = course.before(number), f"{self.case.key}/{number}"
            results += expected_steps(network, [(given.x, given.grad_output)], [mode], (at.params, at.buffers), key)
            course.after(observation.steps[number])
        return results

    def wanted(self, quantity: str) -> bool:
        """Whether the case asks for a quantity at all."""
        return quantity != "grad_input" or self.case.requires_grad

    def undetermined(self) -> float:
        """The largest fraction of slices in any step about which the mathematics cannot decide."""
        return max((step.undetermined_slices for step in self.steps()), default=0.0)
