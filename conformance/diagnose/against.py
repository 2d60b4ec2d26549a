"""Cases that pass, asked whether they would have shown a mistake."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import prod

import numpy as np

from conformance.diagnose.replica import way
from conformance.diagnose.rerun import differs
from conformance.diagnose.suspects import candidates
from conformance.inputs import Inputs, make_inputs
from conformance.judge import Expectation
from conformance.power import usable
from conformance.reference import build_reference, reference_class
from conformance.suite.case import Case
from references.expected import Expected
from references.mistakes import MISTAKES, Mistake, mistaken

_CASES = 60


class Witnesses:
    """The cases that passed; the smallest are asked first, and not for longer than so many CPU seconds in all."""

    def __init__(self, cases: Sequence[Case], seconds: float) -> None:
        fit = [case for case in cases if usable(case) and not case.tolerance]
        self._cases = sorted(fit, key=lambda case: prod(case.shape) * len(case.steps))[:_CASES]
        self._left = seconds
        self._expected: dict[str, tuple[Inputs, list[Expected]]] = {}

    def against(self, name: str) -> str | None:
        """A case that passed although this mistake would show in it; None where no case says so."""
        mistake = MISTAKES.get(name)
        if mistake is None:
            return None
        for case in self._cases:
            if self._left <= 0:
                return None
            if mistake not in candidates(case):
                continue
            started = time.process_time()
            shown = self._shows(case, mistake)
            self._left -= time.process_time() - started
            if shown:
                return case.id
        return None

    def _shows(self, case: Case, mistake: Mistake) -> bool:
        """Whether the mistake changes what it is made in: an output, a buffer or a gradient."""
        inputs, right = self._of(case)
        reference = build_reference(case, of=mistaken(reference_class(case.op), mistake))
        state = reference.initial(inputs.buffers)
        with np.errstate(all="ignore"):
            for given, mode, expected in zip(inputs.steps, case.steps, right, strict=True):
                wrong = reference.step(given.x, given.grad_output, inputs.params, state, mode)
                state = expected.state  # a layer that is right hands on what is right
                for name, quantity in expected.quantities.items():
                    if not name.startswith(way(mistake)) or (name == "grad_input" and not case.requires_grad):
                        continue
                    if differs(quantity, wrong.quantities.get(name)):
                        return True
        return False

    def _of(self, case: Case) -> tuple[Inputs, list[Expected]]:
        if case.key not in self._expected:
            inputs = make_inputs(case)
            self._expected[case.key] = inputs, Expectation(case, inputs).steps()
        return self._expected[case.key]
