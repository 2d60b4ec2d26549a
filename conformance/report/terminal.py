"""The report for people at a terminal; narrow ones and those without colour too."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from conformance.engine.store import StoredRun
from conformance.record import BAD, Verdict
from conformance.report.causes import likely, lines_of
from conformance.report.headline import amounts, headline, left_out, next_step, versions
from conformance.report.onward import onward
from conformance.report.summary import GLYPHS, FailureGroup, Summary, Worst, in_words, many
from conformance.report.wording import again, body, likeness, number, title

FAILURES_SHOWN = 20
REASONS_SHOWN = 15
NARROW = 76  # columns; below, the table becomes a list
WITHOUT_TERMINAL = 120  # columns when the output goes to a file or a pipe

STYLES: dict[Verdict, str] = {
    "pass": "green",
    "fail": "bold red",
    "error": "bold red",
    "crash": "bold red",
    "timeout": "bold red",
    "known": "yellow",
    "fixed": "bold yellow",
    "unsupported": "dim",
    "missing": "dim",
}


def console_for(stream: TextIO | None = None) -> Console:
    """A console that obeys NO_COLOR and COLUMNS, and is wide where nobody watches."""
    stream = stream or sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def render(run: StoredRun, *, width: int = WITHOUT_TERMINAL, limit: int = FAILURES_SHOWN) -> str:
    """The report as plain text."""
    stream = io.StringIO()
    draw(run, Console(file=stream, width=width, highlight=False, emoji=False, markup=False, no_color=True), limit=limit)
    return stream.getvalue()


def draw(run: StoredRun, console: Console, *, limit: int = FAILURES_SHOWN) -> None:
    """Draw the report with so many kinds of failure; 0 shows every failure by itself."""
    summary = Summary(run)

    def line(text: str | Text = "") -> None:
        console.print(text, soft_wrap=True)

    line(Text(headline(run), "bold"))
    for sentence in (*versions(run), *left_out(run)):
        line(sentence)
    line()
    if run.records:
        if console.width < NARROW:
            for row in _list(summary):
                line(row)
        else:
            console.print(_table(summary))
            line()
    for part in (
        _failures(summary, limit),
        _causes(summary),
        _fixed(summary),
        _known(summary, _Prose(console)),
        _reasons(summary, _Prose(console)),
        _notes(summary),
    ):
        for text in part:
            line(text)
    for sentence in amounts(summary):
        line(sentence)
    line(_counts(summary))
    line(next_step(summary))


class _Prose:
    """Sentences of others, under what they are about; on a terminal each line of them is indented."""

    def __init__(self, console: Console) -> None:
        self._columns = console.width if console.is_terminal and console.width > 2 * len(_INDENT) else 0

    def __call__(self, text: str, first: str = "   ") -> str:
        if not self._columns:
            return f"{first}{text}"
        return textwrap.fill(
            text,
            self._columns,
            initial_indent=first,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )


_INDENT = "   "


def _cell(counts: dict[Verdict, int]) -> Text:
    return Text("  ").join(Text(f"{GLYPHS[verdict]} {count:,}", STYLES[verdict]) for verdict, count in counts.items())


def _remark(worst: Worst | None, bad: int) -> str:
    if bad:
        return f"<- {many(bad, 'failure')}"
    if worst is not None and worst.budget > 0.5:
        return f"close: {worst.dtype} {worst.quantity}"
    return ""


def _rows(summary: Summary) -> Iterator[tuple[str, dict[str, dict[Verdict, int]], str, str]]:
    for op, row in summary.table.items():
        worst = summary.worst.get(op)
        bad = sum(count for cell in row.values() for verdict, count in cell.items() if verdict in BAD)
        yield op, row, number(worst.budget) if worst else "", _remark(worst, bad)


def _table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("op", no_wrap=True)
    for name in summary.run.header.backends:
        table.add_column(name)
    table.add_column("worst budget", justify="left")
    for op, row, budget, remark in _rows(summary):
        cells = [_cell(row.get(name, {})) for name in summary.run.header.backends]
        table.add_row(op, *cells, Text(f"{budget:<6} {remark}".rstrip()))
    return table


def _list(summary: Summary) -> Iterator[Text]:
    for op, row, budget, remark in _rows(summary):
        yield Text(f"{op}  {budget} {remark}".rstrip(), "bold")
        for name, cell in row.items():
            yield Text(f"  {name}  ") + _cell(cell)
    yield Text()


def _failures(summary: Summary, limit: int) -> Iterator[Text]:
    shown = summary.failure_groups if limit else tuple(FailureGroup((each,), None) for each in summary.failures)
    for group in shown[: limit or None]:
        record = group.first
        yield Text(title(record), STYLES[record.verdict]) + Text(f"    {record.where}", "default")
        for text in body(record):
            yield Text(f"   {text}", "dim" if text.startswith("|") else "")
        if cause := likely(record, summary.causes):
            yield Text(f"   {cause}", "bold")
        if more := likeness(group):
            yield Text(f"   {more}", "bold")
        yield Text(f"   again: {again(record, summary.paths)}")
        for text in onward(record, summary.paths, summary.causes):
            yield Text(f"   {text}")
        yield Text()
    if limit and len(shown) > limit:
        rest = sum(len(group.records) for group in shown[limit:])
        yield Text(f"... and {rest:,} more failures of {len(shown) - limit:,} other kinds", "bold red")
    if limit and len(shown[:limit]) < len(summary.failures):
        yield Text("every failure: conformance report --all")
        yield Text()


def _fixed(summary: Summary) -> Iterator[Text]:
    groups: dict[tuple[str, str], int] = {}
    for record in summary.fixed:
        groups[record.divergence, record.backend] = groups.get((record.divergence, record.backend), 0) + 1
    for (divergence, backend), count in groups.items():
        example = next(record for record in summary.fixed if record.divergence == divergence)
        yield Text(f"x  fixed: {divergence}  {backend}  {many(count, 'case')}, such as {example.id}", STYLES["fixed"])
        yield Text(f"   {example.reason}")
    if groups:
        yield Text()


def _causes(summary: Summary) -> Iterator[Text]:
    for cause in summary.causes:
        first, *rest = lines_of(cause)
        yield Text(first, "bold")
        yield from (Text(line) for line in rest)
    if summary.causes:
        yield Text()


def _known(summary: Summary, prose: _Prose) -> Iterator[Text]:
    for group in summary.known:
        where = f"    {group.where}" if group.where else ""
        backends = ", ".join(f"{count:,} on {name}" for name, count in group.backends)
        yield Text(f"k  {group.divergence}  {backends}", STYLES["known"]) + Text(where, "default")
        yield Text(prose(group.why))
        if group.sizes:
            sizes = "; ".join(f"{name} {number(low)} to {number(high)}" for name, low, high in group.sizes[:4])
            yield Text(prose(f"error relative to the data: {sizes}"))
        if group.see:
            yield Text(f"   {group.see}")
    if summary.known:
        yield Text()


def _reasons(summary: Summary, prose: _Prose) -> Iterator[Text]:
    for group in summary.unsupported[:REASONS_SHOWN]:
        text = prose(f"{group.count:,} on {group.backend}: {group.reason}", "u  ")
        yield Text(text, STYLES["unsupported"])
    if len(summary.unsupported) > REASONS_SHOWN:
        rest = summary.unsupported[REASONS_SHOWN:]
        count = sum(group.count for group in rest)
        yield Text(f"u  {count:,} more for {len(rest)} other reasons: conformance report --format json", "dim")
    for group in summary.missing:
        yield Text(f"-  {group.count:,} on {group.backend}: missing, {group.reason}", "bold")
    if summary.unsupported or summary.missing:
        yield Text()


def _notes(summary: Summary) -> Iterator[Text]:
    for record in summary.noted:
        yield Text(f"note: {record.detail.splitlines()[0]}", "yellow")


def _counts(summary: Summary) -> Text:
    text = Text("  ").join(Text(in_words([(name, count)]), STYLES[name]) for name, count in summary.counts.items())
    return text + Text(f"{'  = ' if text else ''}{many(len(summary.run.records), 'record')}", "default")
