"""Cases that pass, asked whether they would have shown a mistake."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import prod

import numpy as np

from conformance.diagnose.known import KNOWN
from conformance.diagnose.replica import way
from conformance.diagnose.rerun import differs
from conformance.diagnose.suspects import candidates
from conformance.inputs import Inputs, make_inputs
from conformance.judge import Expectation
from conformance.power import usable
from conformance.reference import build_reference, reference_class
from conformance.suite.case import Case
from references.expected import Expected
from references.mistakes import Mistake, mistaken

_CASES = 60


class Witnesses:
    """The cases that passed; the smallest are asked first, and not for longer than so many CPU seconds in all."""

    def __init__(self, cases: Sequence[Case], seconds: float) -> None:
        fit = [case for case in cases if usable(case) and not case.tolerance]
        self._cases = sorted(fit, key=lambda case: prod(case.shape) * len(case.steps))[:_CASES]
        self._left = seconds
        self._expected: dict[str, tuple[Inputs, list[Expected]]] = {}

    def against(self, name: str, explained: Sequence[tuple[Case, frozenset[str]]] = ()) -> str | None:
        """Who speaks against a mistake: a case that passed, or that others explain, although it would show there.

        explained: failing cases, each with the mistakes that explain all of it.
        """
        mistake = KNOWN.get(name)
        if mistake is None:
            return None
        others = [(case, tuple(KNOWN[each] for each in sorted(made) if each in KNOWN)) for case, made in explained]
        asked: list[tuple[Case, tuple[Mistake, ...]]] = [*((case, ()) for case in self._cases), *others]
        for case, made in asked:
            if self._left <= 0:
                return None
            if mistake not in candidates(case):
                continue
            started = time.process_time()
            shown = self._shows(case, made, mistake)
            self._left -= time.process_time() - started
            if shown:
                return f"{case.id} " + ("is explained without it" if made else "passes")
        return None

    def _shows(self, case: Case, made: tuple[Mistake, ...], mistake: Mistake) -> bool:
        """Whether one mistake more changes what it is made in: an output, a buffer or a gradient."""
        inputs, right = self._of(case)
        before, with_it = (
            build_reference(case, of=mistaken(reference_class(case.op), *each)) for each in (made, (*made, mistake))
        )
        state = before.initial(inputs.buffers)
        other_state = with_it.initial(inputs.buffers)
        with np.errstate(all="ignore"):
            for number, (given, mode) in enumerate(zip(inputs.steps, case.steps, strict=True)):
                try:
                    one = before.step(given.x, given.grad_output, inputs.params, state, mode) if made else right[number]
                    two = with_it.step(given.x, given.grad_output, inputs.params, other_state, mode)
                except (ValueError, IndexError, ZeroDivisionError):
                    return False
                state = other_state = one.state  # a layer without it hands on what it has
                for name, quantity in one.quantities.items():
                    if not name.startswith(way(mistake)) or (name == "grad_input" and not case.requires_grad):
                        continue
                    if differs(quantity, two.quantities.get(name)):
                        return True
        return False

    def _of(self, case: Case) -> tuple[Inputs, list[Expected]]:
        if case.key not in self._expected:
            inputs = make_inputs(case)
            self._expected[case.key] = inputs, Expectation(case, inputs).steps()
        return self._expected[case.key]
