"""``conformance lint``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conformance.engine.limits import default_workers

if TYPE_CHECKING:
    from conformance.power import Power

HELP = """Say whether the cases could show a mistake at all.

Every named mistake is computed beside the right reference on the cases; the table says how far beyond the allowance
the most telling case takes it.  Below 10 a mistake could hide behind rounding.  Exits 1 if one does, or if one that is
said to be invisible is seen after all.

\b
Examples:
  conformance lint                          the shipped cases
  conformance lint my_cases.yaml --all      every mistake, not only the summary
  conformance lint --op LayerNorm --exhaustive --all
"""


@click.command("lint", help=HELP)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE|FOLDER]...")
@click.option("--op", "ops", multiple=True, metavar="OP", help="Only this op; may be given again.")
@click.option("--exhaustive", is_flag=True, help="The largest ratio over all cases, not the first that is enough.")
@click.option("--all", "everything", is_flag=True, help="Print every mistake, op and dtype.")
@click.option("--workers", type=click.IntRange(1), default=default_workers, help="Processes; default: the cores.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="The form of the table.")
def command(
    paths: tuple[Path, ...],
    ops: tuple[str, ...],
    exhaustive: bool,
    everything: bool,
    workers: int,
    form: str,
) -> int:
    from conformance.power import lint, usable
    from conformance.suite.loader import load_suite
    from conformance.suite.selection import select

    suite = load_suite(paths or None)
    cases = select(suite, op=ops).cases
    groups = len({(case.op, case.dtype) for case in cases if usable(case)})
    found = lint(cases, exhaustive=exhaustive, workers=workers)
    with click.progressbar(found, groups, label="ops x dtypes", file=sys.stderr) as progress:
        rows = [row for group in progress for row in group]
    if form == "json":
        click.echo(json.dumps([asdict(row) for row in rows]))
    else:
        for line in table(rows, everything=everything, exhaustive=exhaustive):
            click.echo(line)
    return 0 if rows and all(row.ok for row in rows) else 1


def table(rows: list[Power], *, everything: bool, exhaustive: bool) -> Iterator[str]:
    """The lines of the report: one per op and dtype, then what is not seen, then what is wrong with that."""
    least = "" if exhaustive else "at least "
    if everything:
        yield f"{'op':<18}{'dtype':<10}{'mistake':<44}{'error / allowance':>18}  case"
        for row in rows:
            yield f"{row.op:<18}{row.dtype:<10}{row.mistake:<44}{_ratio(row.ratio):>18}  {row.case} {row.quantity}"
        yield ""
    yield f"{'op':<18}{'dtype':<10}{'mistakes':>9}{'seen':>6}  weakest that is seen"
    for op, dtype in dict.fromkeys((row.op, row.dtype) for row in rows):
        group = [row for row in rows if (row.op, row.dtype) == (op, dtype)]
        seen = [row for row in group if row.seen]
        weakest = min(seen, key=lambda row: row.ratio, default=None)
        said = f"{least}{_ratio(weakest.ratio)}  {weakest.mistake} ({weakest.case})" if weakest else "none"
        yield f"{op:<18}{dtype:<10}{len(group):>9}{len(seen):>6}  {said}"
    unseen = [row for row in rows if row.unseen is not None and not row.seen]
    if unseen:
        yield "\nBelow the limit of what can be seen, and known to be:"
        for row in unseen:
            yield f"  {row.op} {row.dtype} {row.mistake}: {_ratio(row.ratio)} ({row.unseen})"
    wrong = [row for row in rows if not row.ok]
    if wrong:
        yield "\nWrong:"
        for row in wrong:
            yield f"  {row.op} {row.dtype} {row.mistake}: {_ratio(row.ratio)} {_what(row)}"
    named = len({row.mistake for row in rows})
    counts = f"{sum(row.seen for row in rows)} seen, {len(unseen)} below the limit, {len(wrong)} wrong"
    yield f"\n{named} mistakes, {len(rows)} by op and dtype: {counts}"


def _what(row: Power) -> str:
    if row.seen:
        return f"is said to be invisible ({row.unseen}), and {row.case} shows it: delete the reason"
    where = f"most telling: {row.case}" if row.case else "no case shows it at all"
    return f"could hide behind rounding ({where}): add a case whose data shows it"


def _ratio(ratio: float) -> str:
    return f"{ratio:.3g}"
