"""Which quantities of an observation a reference with mistakes in it reproduces.

Before each step the backend's own buffers are taken as they were observed, so that every step is judged by itself and
a mistake in one buffer does not hide what the next step does.  Where the buffers were not observed, the mistaken
reference's own carry on.

Implementations compute outputs, buffers and gradients on separate ways, and a mistake on one need not be on the
others: a layer may normalise with the wrong variance and keep the right one, and a gradient may be that of the wrong
formula (as automatic differentiation gives it), the textbook's gradient fed with the wrong statistics, or right.
A quantity is reproduced when one of these ways gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from conformance.diagnose.known import KNOWN
from conformance.diagnose.rerun import Rerun, reproduces
from conformance.judge import Expectation
from conformance.judge.allowance import storage_rounding
from conformance.observation import Array, Observation
from conformance.reference import reference_class
from conformance.suite.case import Case
from references.expected import Quantity
from references.mistakes import Mistake, mistaken
from references.mistakes.gradients import of_the_formula
from references.rounding import FORMATS, Class

Made = tuple[Mistake, ...]

#: Automatic differentiation takes more operations than the textbook's gradient, for which the allowance is derived.
_LONGER = 8


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One quantity in one step."""

    step: int
    quantity: str

    @property
    def way(self) -> str:
        """Output, buffer, grad, param or momentum."""
        return self.quantity.partition(".")[0].partition("_")[0]


def way(mistake: Mistake) -> str:
    """What a mistake is made in: "output", "buffer" or "grad"."""
    return mistake.shows.partition(".")[0].partition("_")[0]


class Replica:
    """The references of one case, right and mistaken, beside one observation of it."""

    def __init__(
        self,
        case: Case,
        expectation: Expectation,
        observation: Observation,
        observes: tuple[str, ...] = (),
        label: Class = "A",
    ) -> None:
        self.case = case
        self.label = label
        self.inputs = expectation.inputs
        self.observation = observation
        self.judged = expectation.steps_for(observation) if observation.raised is None else expectation.steps()
        self.places = tuple(
            Place(number, name)
            for number, (expected, seen) in enumerate(zip(self.judged, observation.steps, strict=False))
            for name in expected.quantities
            if expectation.wanted(name) and (not observes or name.startswith(observes)) and name in seen.arrays
        )
        self._reruns: dict[tuple[Made, bool], Rerun | None] = {}
        self._given: dict[tuple[Made, Place], bool] = {}

    def got(self, place: Place) -> Array:
        return self.observation.steps[place.step].arrays[place.quantity]

    def right(self, place: Place) -> Quantity | None:
        """What is right at a place, the backend's own buffers being given."""
        rerun = self._rerun(())
        return rerun.quantity(place.step, place.quantity) if rerun is not None else None

    @cached_property
    def wrong(self) -> frozenset[Place]:
        """Where the observation is not what is right, its own buffers being given."""
        return frozenset(self.places) - self.reproduced(())

    @cached_property
    def over(self) -> frozenset[Place]:
        """Where the observation is over its allowance, step after step from the first buffers."""
        expected = ((place, self.judged[place.step].quantities[place.quantity]) for place in self.places)
        return frozenset(place for place, quantity in expected if not reproduces(quantity, self.got(place)))

    def size(self, places: Iterable[Place]) -> int:
        """The number of values in some quantities."""
        return sum(self.got(place).size for place in places)

    def reproduced(self, mistakes: Made) -> frozenset[Place]:
        """The places where one of the ways of computing with these mistakes gives what was observed."""
        return frozenset(place for place in self.places if self.gives(mistakes, place))

    def explains(self, mistakes: Made, places: Iterable[Place]) -> bool:
        """Whether all these places are reproduced; looks no further than to the first that is not."""
        return all(self.gives(mistakes, place) for place in sorted(places, key=_cheapest))

    def gives(self, mistakes: Made, place: Place) -> bool:
        """Whether one of the ways of computing with these mistakes gives what was observed at a place."""
        if (mistakes, place) not in self._given:
            right, got = self.right(place), self.got(place)
            self._given[mistakes, place] = any(
                reproduces(quantity, got, right) for quantity in self._ways(mistakes, place) if quantity is not None
            )
        return self._given[mistakes, place]

    def misses(self, mistakes: Made, place: Place) -> float:
        """How far the observation is from what these mistakes give, in their allowances; the median over the values."""
        rerun = self._rerun(mistakes)
        quantity = rerun.quantity(place.step, place.quantity) if rerun is not None else None
        got = self.got(place)
        if quantity is None or quantity.value.shape != got.shape or quantity.stored == "int64" or not got.size:
            return float("inf")
        return _median_error(quantity, got)

    def changed(self, mistakes: Made, place: Place, than: Made = ()) -> bool:
        """Whether these mistakes give something else at a place than those."""
        mine, others = (self._rerun(each) for each in (mistakes, than))
        if mine is None or others is None:
            return False
        one, other = (rerun.quantity(place.step, place.quantity) for rerun in (mine, others))
        if one is None or other is None or one.value.shape != other.value.shape:
            return True
        return bool((one.value != other.value).any())

    def _ways(self, mistakes: Made, place: Place) -> Iterator[Quantity | None]:
        yield self._of(mistakes, place)
        ways = {way(mistake) for mistake in mistakes}
        if "output" not in ways or place.way == "output":
            return
        yield self._of(tuple(mistake for mistake in mistakes if way(mistake) != "output"), place)
        if "grad" not in ways and place.way == "grad" and self.gives(mistakes, Place(place.step, "output")):
            found = self._of(mistakes, place, differentiated=True)
            yield found if found is None else replace(found, scale=_LONGER * found.scale)

    def _of(self, mistakes: Made, place: Place, *, differentiated: bool = False) -> Quantity | None:
        rerun = self._rerun(mistakes, differentiated=differentiated)
        return None if rerun is None else rerun.quantity(place.step, place.quantity)

    def _rerun(self, mistakes: Made, *, differentiated: bool = False) -> Rerun | None:
        key = mistakes, differentiated
        if key not in self._reruns:
            made: type | None = _mistaken(reference_class(self.case.op), mistakes)
            if differentiated:
                made = of_the_formula(made) if made is not None else None
            self._reruns[key] = (
                None if made is None else Rerun(made, self.case, self.inputs, self.observation, self.label)
            )
        return self._reruns[key]


def _cheapest(place: Place) -> tuple[bool, Place]:
    """Outputs and buffers first: they are known without the gradients."""
    return place.way not in ("output", "buffer"), place


def _mistaken(reference: type, mistakes: Made) -> type:
    """The reference with the mistakes in it; made once, as long as they are not those of one case."""
    if all(KNOWN.get(mistake.id) is mistake for mistake in mistakes):
        return _mistaken_once(reference, mistakes)
    return mistaken(reference, *mistakes)


@lru_cache(maxsize=4096)
def _mistaken_once(reference: type, mistakes: Made) -> type:
    return mistaken(_mistaken_once(reference, mistakes[:-1]), mistakes[-1]) if mistakes else reference


def _median_error(quantity: Quantity, got: Array) -> float:
    with np.errstate(all="ignore"):
        allowed = quantity.scale + storage_rounding(quantity.value, FORMATS[quantity.stored])
        ratio = np.abs(got.astype(quantity.value.dtype) - quantity.value) / allowed
        return float(np.nanmedian(np.where(np.isinf(allowed), np.inf, ratio)))
