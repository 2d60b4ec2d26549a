"""A page as text of a width; nothing is said by colour."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from conformance.explain.page import Contrast, Drawing, Formula, Page, Yours

NARROWEST, WIDEST = 40, 100
_MARGIN = "  "


def drawn(page: Page, yours: Sequence[Yours] = (), *, width: int = WIDEST) -> str:
    """The page, and under it what somebody's own class gave."""
    width = max(NARROWEST, min(width, WIDEST))
    lines = [*_wrapped(f"{page.topic}: {page.title}", width), ""]
    for block in page.blocks:
        if isinstance(block, str):
            lines += _wrapped(block, width)
        elif isinstance(block, Drawing):
            lines += [f"{_MARGIN}{line}".rstrip() for line in block.lines]
        else:
            lines += _contrast(block, width)
        lines.append("")
    for each in [each for each in yours if each.asked] or yours:
        lines += [*_yours(each, width), ""]
    if page.see:
        lines += _wrapped("see also: " + ", ".join(f"conformance explain {topic}" for topic in page.see), width)
    return "\n".join(lines).rstrip() + "\n"


def _wrapped(text: str, width: int, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    ) or [""]


def _contrast(contrast: Contrast, width: int) -> Iterator[str]:
    show = apart([contrast.right.value, *(formula.value for formula in contrast.wrong)])
    yield from _wrapped(contrast.what + ":", width)
    labels = ["definition", "mistake", *(seen.who for seen in contrast.seen)]
    column = len(_MARGIN) + max(map(len, labels)) + 2
    yield from _formula("definition", contrast.right, show, column, width)
    for seen in contrast.seen:
        said = f"{show(seen.value)}" + (f"    <- {seen.follows}" if seen.follows else "    <- the definition")
        yield from _row(seen.who, said, column, width)
        if seen.why:
            yield from _row("", seen.why, column, width)
    for formula in contrast.wrong:
        yield from _formula("mistake", formula, show, column, width)


def _formula(label: str, formula: Formula, show: Show, column: int, width: int) -> Iterator[str]:
    yield from _row(label, formula.text, column, width)
    number = f"{formula.worked} = {show(formula.value)}" if formula.worked else show(formula.value)
    yield from _row("", number + (f"    ({formula.mistake})" if formula.mistake else ""), column, width)
    if formula.hidden:
        yield from _row("", "rounding may explain the difference: no test can tell it here", column, width)


def _row(label: str, text: str, column: int, width: int) -> list[str]:
    return _wrapped(text, width, f"{_MARGIN + label:<{column}}", " " * column)


def _yours(yours: Yours, width: int) -> Iterator[str]:
    if yours.failed:
        yield from _wrapped(f"{yours.what}: {yours.failed}", width)
        return
    assert yours.value is not None
    strange = [formula for formula in yours.matches if formula.mistake]
    unexplained = [] if yours.matches else [yours.value]  # else it is one of the others, but for rounding
    show = apart([yours.right.value, *unexplained, *(formula.value for formula in strange)])
    said = f"{yours.what}: yours is {show(yours.value)}, the definition says {show(yours.right.value)}."
    yield from _wrapped(said, width)
    column = len(_MARGIN) + len("definition") + 2
    yield from _formula("definition", yours.right, show, column, width)
    if yours.agrees:
        yield from _row("yours", "is the definition, in every value    <- exact match", column, width)
        return
    for formula in strange:
        yield from _formula("yours is", formula, show, column, width)
        yield from _row("", "<- exact match, in every value", column, width)
    if not strange:
        yield from _row(
            "yours", "matches no formula that is known here; conformance check tries all cases", column, width
        )


class Show:
    """Numbers with as many digits as tell those of a contrast apart."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def __call__(self, value: float) -> str:
        return f"{value:.{self.digits}g}" if math.isfinite(value) else str(value)


def apart(values: Iterable[float]) -> Show:
    """At least five digits, and more where different numbers would look alike."""
    different = set(values)
    for digits in range(5, 18):
        show = Show(digits)
        if len({show(value) for value in different}) == len(different):
            return show
    return Show(17)
