"""``conformance report``."""

from __future__ import annotations

from pathlib import Path

import click

from conformance.cli import options
from conformance.cli.output import deliver
from conformance.engine.store import ROOT, read_run

HELP = """Draw the report of a stored run again.

RUN is a record file or its folder; without it, the last run in this folder.

\b
Examples:
  conformance report
  conformance report --all
  conformance report --format junit -o results.xml
  conformance report .conformance/20250102-030405 --format md
"""


@click.command("report", help=HELP)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@options.output("text")
def command(run: Path | None, form: str, target: Path | None, junitxml: Path | None, everything: bool) -> int:
    stored = read_run(run or ROOT / "latest")
    deliver(stored, form=form, target=target, junitxml=junitxml, everything=everything)
    return 0
