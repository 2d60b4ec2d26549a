"""``conformance cache``."""

from __future__ import annotations

import click

from conformance.backends.export_cache import Contents, ExportCache, exports_folder

HELP = """The exports that are kept between runs.

Exporting a layer takes far longer than running it, so every export is kept in a folder of this machine's own, under a
digest of everything that it depends on. Set CONFORMANCE_CACHE_DIR to keep them elsewhere.

\b
Examples:
  conformance cache info
  conformance cache clear
"""
MIB = 2**20


def _counted(contents: Contents) -> str:
    noun = "export" if contents.entries == 1 else "exports"
    return f"{contents.entries:,} {noun}, {contents.size / MIB:.1f} MiB"


@click.group("cache", help=HELP)
def command() -> None:
    pass


@command.command("info")
def info() -> int:
    """Say where the cache is, what it holds and how large it may grow."""
    contents = ExportCache(exports_folder()).contents()
    click.echo(f"folder      {contents.folder}")
    click.echo(f"holds       {_counted(contents)}")
    click.echo(f"limit       {contents.limit / MIB:,.0f} MiB; the least recently used go first")
    if contents.unfinished:
        click.echo(f"unfinished  {contents.unfinished} files, being written or left by a run that was killed")
    return 0


@command.command("clear")
def clear() -> int:
    """Remove every export; the next run makes them anew."""
    before = ExportCache(exports_folder()).clear()
    click.echo(f"removed {_counted(before)} from {before.folder}")
    return 0
