"""The suite: all cases, and everything that is known of them before one runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from conformance.suite.case import Case, Divergence
from conformance.suite.expand import Expansion, Skipped
from conformance.suite.problems import Problem, path_text


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """Cases in the order of their files.

    ``skipped`` are the combinations that rules removed.  ``aliases`` maps the ids of cases whose content another
    case has to the id under which it runs.  ``digest`` names the set of keys.
    """

    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...] = ()
    aliases: dict[str, str] = {}
    divergences: dict[str, Divergence] = {}
    files: tuple[Path, ...] = ()
    digest: str = ""


def gather(expansions: Sequence[Expansion], files: tuple[Path, ...]) -> tuple[Suite, list[Problem]]:
    """All cases, each content once, and the ids that stand for two of them."""
    cases: dict[str, Case] = {}  # by key
    by_id: dict[str, str] = {}
    aliases: dict[str, str] = {}
    problems: dict[tuple[str, int], Problem] = {}
    for expansion in expansions:
        for case, drafted in expansion.drafted:
            if by_id.setdefault(case.id, case.key) != case.key:
                line = case.origin.line
                problem = Problem(
                    case.origin.file, line, case.origin.col, path_text(drafted.paths.get("shape", ())[:2]),
                    f"the id '{case.id}' stands for a case of another file already; rename the file or the group",
                )  # fmt: skip
                problems.setdefault((case.origin.file, line), problem)
                continue
            first = cases.setdefault(case.key, case)
            if first is case:
                continue
            if first.id != case.id:
                aliases[case.id] = first.id
            if first.marks != case.marks:  # what one of the two does not call slow is not slow
                kept = tuple(mark for mark in first.marks if mark != "slow" or mark in case.marks)
                cases[case.key] = msgspec.structs.replace(first, marks=kept)
    skipped = tuple(each for expansion in expansions for each in expansion.skipped)
    suite = Suite(cases=tuple(cases.values()), skipped=skipped, aliases=aliases, files=files)
    return suite, list(problems.values())
