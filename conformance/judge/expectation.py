"""What the references say about a case: run once, for all backends, and again only for a declared precision class."""

from __future__ import annotations

from conformance.inputs import Inputs
from conformance.reference import build_reference, reference_class
from conformance.suite.case import Case
from references.expected import Expected, run
from references.rounding import Class


class Expectation:
    """The expected steps of one case, computed when first asked for and kept."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        self.case = case
        self.inputs = inputs
        self._steps: dict[tuple[Class, str], list[Expected]] = {}

    def steps(self, label: Class = "A", variant: str = "") -> list[Expected]:
        """One Expected per step, under a precision class and, where one is named, another definition of the op."""
        if (label, variant) not in self._steps:
            self._steps[label, variant] = run(
                build_reference(self.case, label, of=reference_class(self.case.op, variant)),
                [(step.x, step.grad_output) for step in self.inputs.steps],
                self.inputs.params,
                self.inputs.buffers,
                self.case.steps,
            )
        return self._steps[label, variant]

    def wanted(self, quantity: str) -> bool:
        """Whether the case asks for a quantity at all."""
        return quantity != "grad_input" or self.case.requires_grad

    def undetermined(self) -> float:
        """The largest fraction of slices in any step about which the mathematics cannot decide."""
        return max((step.undetermined_slices for step in self.steps()), default=0.0)
