"""Figures that tell something of a candidate and decide nothing, and those that decide."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from conformance.backends.candidate.spec import TOLD
from conformance.record import Figure

REMARK = "remark"  # the source of a figure that is worth telling, and decides nothing
USAGE = "usage"  # the source of a figure that tells how the candidate must be called
#: what torch's layers promise beyond numbers, dtype and shape
MANNERS = ("memory_format", "state_dict")


def remarks_of(figures: Sequence[Figure]) -> list[Figure]:
    """The figures that only tell."""
    return [figure for figure in figures if figure.source == REMARK]


def decisive(figures: Sequence[Figure]) -> list[Figure]:
    """The figures over their allowance."""
    return [figure for figure in figures if not figure.ok and figure.source != REMARK]


def strict_record_figures(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """The figures, with lacking manners counted as failures."""
    return tuple(
        msgspec.structs.replace(figure, ok=False, source="structure")
        if figure.source == REMARK and figure.quantity != TOLD
        else figure
        for figure in figures
    )
