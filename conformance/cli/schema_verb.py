"""``conformance schema``."""

from __future__ import annotations

from importlib.resources import files

import click

HELP = """Print the JSON Schema of case files, for editors.

\b
Examples:
  conformance schema > case-v1.json
  then, as the first line of a case file:
  # yaml-language-server: $schema=case-v1.json
"""


@click.command("schema", help=HELP)
def command() -> int:
    click.echo(files("conformance.suite").joinpath("case-v1.json").read_text(encoding="utf-8"), nl=False)
    return 0
