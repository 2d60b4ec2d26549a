"""What a mistake is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


def mistaken(reference: type, mistake: Mistake) -> type:
    """The reference with the mistake in it; a replaced method reaches the right one through ``right(self)``."""
    return type(f"{reference.__name__} with {mistake.id}", (reference,), dict(mistake.changes))


def right(self: Any) -> Any:
    """The reference as it was before the mistake."""
    return super(type(self), self)
