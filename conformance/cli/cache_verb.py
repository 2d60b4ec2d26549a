"""``conformance cache``."""

from __future__ import annotations

import os

import click

from conformance.backends.export_cache import Contents, ExportCache, exports_folder
from conformance.cache_folder import (
    INPUTS_LIMIT,
    REFERENCES_LIMIT,
    RUNS_LIMIT,
    cache_folder,
    inputs_folder,
    references_folder,
    runs_folder,
)
from conformance.pack_cache import PackCache

HELP = """The exports, results of references and inputs that are kept between runs.

Exporting a layer takes far longer than running it, and its reference and its inputs longer than reading them. All are
kept in a folder of this machine's own, under a digest of everything that they depend on. A failure is never told from
what a reference said before: it is computed anew. Set CONFORMANCE_CACHE_DIR to keep them elsewhere.

\b
Examples:
  conformance cache info
  conformance cache clear
"""
MIB = 2**20


def _caches() -> tuple[tuple[str, str, ExportCache | PackCache], ...]:
    """What one entry is called, what several are, and where entries are."""
    return (
        ("export", "exports", ExportCache(exports_folder())),
        ("reference result", "reference results", PackCache(references_folder(), REFERENCES_LIMIT)),
        ("set of inputs", "sets of inputs", PackCache(inputs_folder(), INPUTS_LIMIT)),
        ("case with its graphs", "cases with their graphs", PackCache(runs_folder(), RUNS_LIMIT)),
    )


def _hindrance() -> str:
    """Why nothing can be kept; runs say nothing of it, for it costs them time alone."""
    place = cache_folder()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return f"{place} is no folder"
    return "" if os.access(place, os.W_OK) else f"{place} may not be written"


def _counted(contents: Contents, one: str, several: str) -> str:
    return f"{contents.entries:,} {one if contents.entries == 1 else several}, {contents.size / MIB:.1f} MiB"


@click.group("cache", help=HELP)
def command() -> None:
    pass


@command.command("info", short_help="Where the caches are and what they hold.")
def info() -> int:
    """Say where the caches are, what they hold and how large they may grow."""
    if why := _hindrance():
        click.echo(f"nothing is kept: {why}; CONFORMANCE_CACHE_DIR names another folder")
    for one, several, cache in _caches():
        contents = cache.contents()
        click.echo(f"folder      {contents.folder}")
        click.echo(f"holds       {_counted(contents, one, several)}")
        click.echo(f"limit       {contents.limit / MIB:,.0f} MiB; the least recently used go first")
        if contents.unfinished:
            click.echo(f"unfinished  {contents.unfinished} files, being written or left by a run that was killed")
    return 0


@command.command("clear")
def clear() -> int:
    """Remove everything; the next run makes it anew."""
    for one, several, cache in _caches():
        before = cache.clear()
        click.echo(f"removed {_counted(before, one, several)} from {before.folder}")
    return 0
