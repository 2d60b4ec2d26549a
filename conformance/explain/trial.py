"""One number of an experiment beside the formulas that could have made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from conformance.explain.experiment import Experiment, agrees, allowed_at, defined, seen_by, version_of
from conformance.explain.page import Contrast, Formula, Seen, Yours
from conformance.explain.pages import MISTAKE_PAGES
from conformance.observation import Observation, Unsupported
from conformance.ops import OPS
from references.expected import Expected
from references.mistakes import MISTAKES

#: executes an experiment with somebody's own class in the place of torch's
Runner = Callable[[Experiment], Observation]


class Tried(Protocol):
    """Something on a page that has numbers, and that somebody's own class can be put through."""

    def contrast(self) -> Contrast: ...

    def yours(self, run: Runner) -> Yours: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """A quantity of an experiment at one element.

    what: the number in words, such as ``running_mean[0] after 1 training step``.
    right: the formula and its arithmetic.  wrong: mistake -> its arithmetic; its formula is that of its page.
    elsewhere: other backends, with the mistake whose formula they follow by their own definition, and why.
    hidden: those mistakes whose difference rounding may explain here.
    others: the same question asked of other layers, for classes that take the arguments of one of those.
    """

    experiment: Experiment
    quantity: str
    index: tuple[int, ...]
    what: str
    right: tuple[str, str]
    wrong: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    elsewhere: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    others: Callable[[], Iterable[Trial]] = tuple

    def contrast(self) -> Contrast:
        expected = defined(self.experiment)
        quantity = expected[self.step].quantities[self.quantity]
        seen = [Seen(version_of("torch-cpu"), self._at(seen_by(self.experiment)))]
        for backend, (follows, why) in self.elsewhere.items():
            seen.append(Seen(version_of(backend), self._at(seen_by(self.experiment, backend)), follows, why))
        return Contrast(
            self.what,
            self._right(expected),
            tuple(self._mistaken(mistake, worked) for mistake, worked in self.wrong.items()),
            tuple(seen),
            allowed_at(quantity, self.index),
        )

    def yours(self, run: Runner) -> Yours:
        try:
            return self.compared(run(self.experiment))
        except Unsupported as misfit:
            for other in self.others():
                with suppress(Unsupported):
                    return other.compared(run(other.experiment))
            op = self.experiment.case.op
            return Yours(
                self.what, None, self._right(defined(self.experiment)), (), f"this is asked of a {op}: {misfit}"
            )

    def compared(self, seen: Observation) -> Yours:
        """What was seen beside the definition and, where it is not that, beside every mistake."""
        expected = defined(self.experiment)
        right = self._right(expected)
        if seen.raised is not None:
            return Yours(self.what, None, right, (), f"yours raised {seen.raised.type}: {seen.raised.message}")
        last = seen.steps[self.step].arrays
        if self.quantity not in last:
            return Yours(self.what, None, right, (), f"yours has no {self.quantity.removeprefix('buffer.')}")
        if last[self.quantity].shape != expected[self.step].quantities[self.quantity].value.shape:
            shapes = [list(a.shape) for a in (last[self.quantity], expected[self.step].quantities[self.quantity].value)]
            return Yours(self.what, None, right, (), f"yours has the shape {shapes[0]}, expected {shapes[1]}")
        value = self._at(seen)
        if agrees(expected, seen, self.quantity):
            return Yours(self.what, value, right, (right,))
        return Yours(self.what, value, right, tuple(self._matches(seen)))

    def _matches(self, seen: Observation) -> list[Formula]:
        """The mistakes that give what was seen in every step; those that this page speaks of come first."""
        family = OPS[self.experiment.case.op].family
        known = [
            mistake.id
            for mistake in MISTAKES.values()
            if family in mistake.families and self.experiment.case.dtype in mistake.dtypes
        ]
        order = [*self.wrong, *(each for each in known if each not in self.wrong)]
        found = [each for each in order if agrees(defined(self.experiment, each), seen, self.quantity)]
        spoken_of = [each for each in found if each in self.wrong]
        return [self._mistaken(each, self.wrong.get(each, "")) for each in spoken_of or found]

    def _right(self, expected: list[Expected]) -> Formula:
        text, worked = self.right
        return Formula(text, float(expected[self.step].quantities[self.quantity].value[self.index]), worked)

    def _mistaken(self, mistake: str, worked: str) -> Formula:
        value = defined(self.experiment, mistake)[self.step].quantities[self.quantity].value[self.index]
        page = MISTAKE_PAGES.get(mistake)
        return Formula(
            page.wrong if page else MISTAKES[mistake].says, float(value), worked, mistake, mistake in self.hidden
        )

    def _at(self, seen: Observation) -> float:
        array: Any = seen.steps[self.step].arrays[self.quantity]
        return float(np.asarray(array[self.index], np.float64))
