"""A page before its numbers are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.explain.page import Drawing

if TYPE_CHECKING:
    from conformance.explain.trial import Tried


@dataclass(frozen=True, slots=True)
class Chapter:
    parts: tuple[str | Drawing | Tried, ...]
    see: tuple[str, ...] = ()
