"""``conformance explain``."""

from __future__ import annotations

import shutil

import click

from conformance.errors import UsageError
from conformance.explain.draw import WIDEST, drawn
from conformance.explain.listing import listing
from conformance.explain.topics import resolve

HELP = """Explain a topic or a mistake, with numbers computed on this machine.

Without TOPIC, all topics are listed.  With --mine, your own class goes through the experiments of the page: it is built
with torch's arguments, and the page says whose formula gives its numbers.  Exits 1 if that is not the definition's.

\b
Examples:
  conformance explain
  conformance explain running-mean
  conformance explain running-mean --mine my_bn.py:BatchNorm
  conformance explain eps-outside-sqrt --mine mykernels:LayerNorm
"""


@click.command("explain", help=HELP)
@click.argument("topic", required=False)
@click.option("--mine", metavar="MODULE:CLASS", help="Your own class, in a module or in a file: my_bn.py:BatchNorm.")
@click.option("--width", type=click.IntRange(20), metavar="COLUMNS", help="Wrap at this column.")
def command(topic: str | None, mine: str | None, width: int | None) -> int:
    columns = width or min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    if topic is None:
        click.echo(listing(columns), nl=False)
        return 0
    name = resolve(topic)
    from conformance.explain.make import make

    if mine is None:
        page, _ = make(name)
        click.echo(drawn(page, width=columns), nl=False)
        return 0
    from conformance.explain.mine import runner

    page, yours = make(name, runner(mine))
    asked = [each for each in yours if each.asked]
    if not asked:
        why = yours[0].failed if yours else "it has no experiment"
        raise UsageError(
            f"nothing on the page {name!r} can be asked of {mine}: {why}",
            hint="conformance check writes the adapter for a class whose arguments have other names",
        )
    click.echo(drawn(page, yours, width=columns), nl=False)
    return 0 if all(each.agrees for each in asked) else 1
