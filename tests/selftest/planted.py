"""Modules with a mistake in them, each written as somebody would write it, and the name that the mistake should get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import planted_batch
import planted_instance
import planted_layer
import planted_maps


@dataclass(frozen=True)
class Planted:
    """A module of an op, and the ids of the mistakes that were made in it."""

    op: str
    make: Any
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.op} {self.make.__name__}"


PLANTED = tuple(
    Planted(op, make, names)
    for home in (planted_batch, planted_instance, planted_layer, planted_maps)
    for op, make, *names in home.PLANTED
)
