"""What a function said of an object that never changes, for as long as it is asked about the very same object.

A case holds dicts and lists, so that it has no hash; and to compare cases takes as long as most of what is asked of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")

LIMIT = 256  # more than a worker has in hand


def by_identity(function: Callable[[Thing], Answer]) -> Callable[[Thing], Answer]:
    """Remember the answers for the last objects; callers share them and must leave them as they are."""
    known: dict[int, tuple[Thing, Answer]] = {}  # the object stays alive here, so that no other gets its number

    @wraps(function)
    def remembered(thing: Thing) -> Answer:
        found = known.get(id(thing))
        if found is not None:
            return found[1]
        answer = function(thing)
        if len(known) >= LIMIT:
            known.clear()
        known[id(thing)] = thing, answer
        return answer

    return remembered
