"""Which inputs are a case's own: what was kept for a case holds for these, and not for others that it may be given."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TypeVar

from conformance.suite.case import Case

Made = TypeVar("Made")

#: by identity: the inputs, for as long as they live, and the case
_OWNERS: dict[int, tuple[weakref.ref[object], Case]] = {}


def claimed(case: Case, inputs: Made) -> Made:
    """The same inputs, known as those that ``make_inputs`` has for this case."""
    place = id(inputs)
    _OWNERS[place] = weakref.ref(inputs, _forgetting(place)), case
    return inputs


def are_own(case: Case, inputs: object) -> bool:
    """Whether these very inputs were made for this case; a copy with other arrays was not."""
    found = _OWNERS.get(id(inputs))
    return found is not None and found[0]() is inputs and (found[1] is case or found[1] == case)


def _forgetting(place: int) -> Callable[[object], None]:
    def forget(_: object) -> None:
        _OWNERS.pop(place, None)

    return forget
