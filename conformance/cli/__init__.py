"""The command line: one thin module per verb, imported when its verb is called."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point ``conformance``."""
    from conformance.cli.command import invoke

    sys.exit(invoke(sys.argv[1:]))
