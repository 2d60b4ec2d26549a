"""``conformance merge``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from conformance import __version__
from conformance.cli import options
from conformance.cli.output import check_writable, deliver
from conformance.engine import shards
from conformance.engine.store import ROOT, Store, read_run
from conformance.record import Header
from conformance.report.summary import Summary

HELP = """Join the parts of a run that were made with --shard, and report on the whole.

RUN is the folder of a part, or its record file. The parts must be complete, of the same cases, and made with the same
versions. The whole is stored as a run of its own, with the records in the order in which one run would have them.

\b
Examples:
  conformance merge part-1 part-2 part-3
  conformance merge shards/* --format md -o report.md
"""


@click.command("merge", help=HELP)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@options.output("text")
@click.pass_context
def command(
    ctx: click.Context, runs: tuple[Path, ...], form: str, target: Path | None, junitxml: Path | None, everything: bool
) -> int:
    parts = shards.fitting([shards.open_part(run) for run in runs])
    check_writable(target, junitxml)
    header = Header(conformance=__version__, command=shlex.join(["conformance", *ctx.find_root().obj]))
    whole = read_run(shards.merge(parts, Store.create(ROOT), header))
    deliver(whole, form=form, target=target, junitxml=junitxml, everything=everything)
    return Summary(whole).exit_code
