"""What a mistake is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

NORMS = ("batch_norm", "instance_norm", "layer_norm", "rms_norm", "group_norm")
CENTRED = ("batch_norm", "instance_norm", "layer_norm", "group_norm")
BIASED = CENTRED
RUNNING = ("batch_norm", "instance_norm")
ALL_DTYPES = ("float64", "float32", "bfloat16", "float16")
HALF = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True, eq=False)  # compared and hashed by identity: ids are unique
class Mistake:
    """One wrong formula.

    says: one sentence, the wrong next to the right.  shows: the quantity in which it is seen first.
    families: the op families in which it can be made.  changes: methods of the reference and what replaces them.
    dtypes: where it is a mistake at all.  unseen: dtype, or "family dtype", to the reason why no data can show it
    there.
    """

    id: str
    says: str
    shows: str
    families: tuple[str, ...]
    changes: Mapping[str, Callable[..., Any]]
    dtypes: tuple[str, ...] = ALL_DTYPES
    unseen: Mapping[str, str] = field(default_factory=dict)

    def unseen_in(self, family: str, dtype: str) -> str | None:
        """Why this mistake cannot be told from rounding there, or None."""
        return self.unseen.get(dtype) or self.unseen.get(f"{family} {dtype}") or self.unseen.get(family)


def mistaken(reference: type, *mistakes: Mistake) -> type:
    """The reference with the mistakes in it, the first innermost.

    A replaced method reaches the one that it replaces through ``right(self)``: with several mistakes that is the
    method as the mistakes before it left it.
    """
    made = reference
    for mistake in mistakes:
        made = type(f"{made.__name__} with {mistake.id}", (made,), {})
        for name, change in mistake.changes.items():
            setattr(made, name, _inside(made, change))
    return made


class _Inside(threading.local):
    """The classes whose replaced methods are running, the present one last."""

    def __init__(self) -> None:
        self.classes: list[type] = []


_INSIDE = _Inside()


def _inside(made: type, change: Callable[..., Any]) -> Callable[..., Any]:
    """The change as a method of the class, which ``right`` can ask for while it runs."""

    @wraps(change)
    def method(*args: Any, **kwargs: Any) -> Any:
        _INSIDE.classes.append(made)
        try:
            return change(*args, **kwargs)
        finally:
            _INSIDE.classes.pop()

    return method


def right(self: Any) -> Any:
    """The reference as it was before the mistake whose method is running."""
    return super(_INSIDE.classes[-1], self)
