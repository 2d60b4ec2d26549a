"""How a record is told in words; the terminal, pytest, JUnit and GitHub all say the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from conformance.record import Figure, Record
from conformance.report.summary import GLYPHS, FailureGroup, bad_figures

DETAIL_LINES = 12
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def printable(text: str) -> str:
    """Somebody else's text without what would colour, move or ring a terminal."""
    return _CONTROL.sub("", text)


def number(value: float) -> str:
    """Three significant digits, without an exponent where that is readable."""
    if value != 0 and not 0.001 <= abs(value) < 100_000:
        return f"{value:.2e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def place(record: Record) -> str:
    """The step and quantity that decided, such as ``step 1 output``."""
    over = bad_figures(record)
    return f"step {over[0].step} {over[0].quantity}" if over else ""


def figure_text(figure: Figure) -> str:
    """``error 4.1 x allowed at [1, 0, 3]: got 0.5127, expected 0.5142 (6.6 ulp), 4 of 48 values``."""
    at = f" at {list(figure.index)}" if figure.index else ""
    values = f"got {figure.got}, expected {figure.expected}"
    if figure.budget is None:
        return f"{values}{at}"
    by = f" [{figure.source}]" if figure.source.startswith("tolerance") else ""
    ulps = f" ({number(figure.ulps)} ulp)" if figure.ulps is not None else ""
    extent = f", {figure.exceeding:,} of {figure.size:,} values" if figure.size else ""
    return f"error {number(figure.budget)} x allowed{by}{at}: {values}{ulps}{extent}"


def short_figure(figure: Figure) -> str:
    """One figure among several: ``step 0 grad_input 2.3 x``."""
    size = (
        f" {number(figure.budget)} x" if figure.budget is not None else f" got {figure.got}, expected {figure.expected}"
    )
    return f"step {figure.step} {figure.quantity}{size}"


def again(record: Record, paths: Sequence[str] = ()) -> str:
    """The command that runs this pair alone; ``paths`` are the case files that were named, if any were."""
    where = "".join(f"{shlex.quote(path)} " for path in paths)
    return f"conformance run {where}--key {record.key} --backend {shlex.quote(record.backend)}"


def title(record: Record) -> str:
    """Glyph, case, backend, decisive quantity."""
    parts = [GLYPHS[record.verdict], record.id, record.backend, place(record)]
    return "  ".join(part for part in parts if part)


def body(record: Record, *, detail_lines: int = DETAIL_LINES) -> list[str]:
    """What happened, line by line, without the title."""
    over = bad_figures(record)
    lines = [figure_text(over[0])] if over and record.verdict in ("fail", "known") else []
    plain = record.reason and (not lines or not record.reason.startswith(place(record)))
    if plain or not lines:
        lines.append(record.reason or "no reason was recorded")
    elif "; " in record.reason:  # what the judge added behind the figure
        lines.append(record.reason.partition("; ")[2])
    if len(over) > 1:
        shown = ", ".join(short_figure(figure) for figure in over[1:4])
        more = f" and {len(over) - 4} more" if len(over) > 4 else ""
        lines.append(f"also: {shown}{more}")
    lines += _quoted_detail(record, detail_lines)
    return lines


def likeness(group: FailureGroup) -> str:
    """How many more fail like the first, and how badly; empty when it is the only one."""
    more = len(group.records) - 1
    if not more:
        return ""
    worst = f", the worst {number(group.worst)} x allowed" if group.worst is not None else ""
    return f"and {more:,} more like it ({group.first.op} {group.first.dtype} on {group.first.backend}){worst}"


def _quoted_detail(record: Record, limit: int) -> list[str]:
    """The telling lines of somebody else's text: the end of a traceback, the head of a native stack."""
    lines = printable(record.detail).splitlines()
    if len(lines) <= limit:
        return [f"| {line}" for line in lines]
    if record.verdict == "error":
        return [f"| ... {len(lines) - limit} lines before", *(f"| {line}" for line in lines[-limit:])]
    head = [line for line in lines if line.startswith("Fatal Python error")][:1]
    start = next((place for place, line in enumerate(lines) if line.startswith(("Current thread", "Thread 0x"))), 0)
    start = next((place for place, line in enumerate(lines) if line.startswith("Current thread")), start)
    shown = [*head, *lines[start : start + limit - len(head)]]
    return [*(f"| {line}" for line in shown), f"| ... {len(lines) - len(shown)} more lines"]


def failure_text(record: Record, paths: Sequence[str] = ()) -> str:
    """A failure as a block of text: title, place in the case file, what happened, how to run it again."""
    lines = [f"{title(record)}    {record.where}", *(f"   {line}" for line in body(record))]
    lines.append(f"   again: {again(record, paths)}")
    return "\n".join(lines)
