"""``conformance list``."""

from __future__ import annotations

import click
import msgspec

from conformance.cli import options
from conformance.engine.wish import Wish, load, selected
from conformance.errors import UsageError
from conformance.suite.problems import count

HELP = """List the cases, or explain where one comes from.

\b
Examples:
  conformance list
  conformance list --op BatchNorm2d --dtype float16
  conformance list my_cases.yaml --format json
  conformance list --why 'batch_norm_2d::semantics[average]'
"""


@click.command("list", help=HELP)
@options.selection
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="The form of the list.")
@click.option("--why", metavar="ID", help="Every field of this case, with the line of the case file that set it.")
@click.option("--skipped", is_flag=True, help="What rules removed, and why, instead of the cases.")
def command(
    paths: tuple[str, ...],
    ops: tuple[str, ...],
    dtypes: tuple[str, ...],
    ids: tuple[str, ...],
    keys: tuple[str, ...],
    keyword: str,
    slow: bool,
    form: str,
    why: str | None,
    skipped: bool,
) -> int:
    suite = load(paths)
    if why is not None:
        from conformance.suite.why import explain_case

        explanation = explain_case(suite, why)
        click.echo(f"{explanation.case.id}    {explanation.case.key}    {explanation.case.about}".rstrip())
        rows = [
            (reason.field, msgspec.json.encode(reason.value).decode(), reason.source, str(reason.origin or ""))
            for reason in explanation.reasons
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
            click.echo(f"  {'  '.join(cells)}  {row[3]}".rstrip())
        return 0
    if skipped:
        if Wish(ops=ops, dtypes=dtypes, ids=ids, keys=keys, keyword=keyword, slow=slow) != Wish():
            raise UsageError(
                "--skipped shows what rules removed from whole case files; what is not there has no op, dtype or key",
                hint="name files: conformance list FILE --skipped",
            )
        for entry in suite.skipped:
            click.echo(f"{entry.id}    {entry.reason}    {entry.origin}")
        click.echo(f"{count(len(suite.skipped), 'combination')} skipped", err=True)
        return 0
    wish = Wish(paths=paths, ops=ops, dtypes=dtypes, ids=ids, keys=keys, keyword=keyword, slow=slow)
    selection = selected(suite, wish)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(selection.cases), indent=1).decode())
    else:
        wide = max(len(case.id) for case in selection.cases)
        click.echo("".join(f"{case.id:<{wide}}  {case.key}  {case.dtype}\n" for case in selection.cases), nl=False)
    slow_note = f"; {count(selection.slow, 'slow case')} left out (--slow)" if selection.slow else ""
    click.echo(f"{count(len(selection.cases), 'case')}{slow_note}", err=True)
    return 0
