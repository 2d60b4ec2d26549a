"""What a person asked for, and the plan that follows; shared by the command line and by pytest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import msgspec

from conformance.backends import CANDIDATE, NAMES, names
from conformance.engine.plan import Plan
from conformance.errors import UsageError
from conformance.suite.loader import load_suite
from conformance.suite.problems import unknown
from conformance.suite.sample import export_sample
from conformance.suite.selection import Selection, select
from conformance.suite.suite import Suite

DEFAULT_BACKENDS = ("torch-cpu", "onnx-dynamo", "onnx-script")
#: backends that are slow to prepare, and get a pairwise sample when that is asked for
SAMPLED = ("onnx-dynamo", "onnx-step", "onnx-reference")


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which cases on which backends; stored in the header, so that a resumed run knows what it was to do."""

    paths: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    keyword: str = ""
    slow: bool = False
    backends: tuple[str, ...] = DEFAULT_BACKENDS
    exports: Literal["sample", "all"] = "all"

    @property
    def pointed(self) -> bool:
        """Whether single cases are named; then nothing is sampled or left out as slow."""
        return bool(self.ids or self.keys)


@dataclass(frozen=True, slots=True)
class Granted:
    """A wish come true: the plan, and what the header keeps for the report and for resuming."""

    plan: Plan
    extra: dict[str, Any]


def check_backends(wanted: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in the order given.

    Raises:
        UsageError: one is no backend.
    """
    known = NAMES if set(wanted) <= set(NAMES) else names()
    for name in wanted:
        if name.startswith(CANDIDATE):
            _check_candidate(name)
        elif name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"; did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"'{name}' is not a backend{meant}", hint=f"known: {', '.join(known)}")
    return tuple(dict.fromkeys(wanted))


def _check_candidate(name: str) -> None:
    """That the name of somebody's own layer can be read, and names an op."""
    from conformance.backends.candidate.spec import read_spec
    from conformance.ops import OPS

    spec = read_spec(name)
    if spec.like not in OPS:
        raise UsageError(f"{name}: {unknown('op', spec.like, tuple(OPS))}")


def load(paths: Sequence[str]) -> Suite:
    """The suite of these files and folders; the shipped one when there are none."""
    return load_suite([Path(path) for path in paths] or None)


def selected(suite: Suite, wish: Wish) -> Selection:
    """The cases of a suite that a wish asks for.

    Raises:
        UsageError: an op, dtype, id or key is not known.
        NothingSelected: no case is left.
    """
    return select(
        suite,
        op=wish.ops,
        dtype=wish.dtypes,
        ids=(*wish.ids, *wish.keys),
        keyword=wish.keyword,
        slow=wish.slow,
    )


def grant(wish: Wish) -> Granted:
    """The plan of a wish.

    Raises:
        CaseFileError: a case file is wrong.
        UsageError: a backend, op, dtype, id or key is not known.
        NothingSelected: no case is left.
    """
    backends = check_backends(wish.backends)
    suite = load(wish.paths)
    selection = selected(suite, wish)
    only = {}
    if wish.exports == "sample" and not wish.pointed:
        sample = frozenset(case.key for case in export_sample(selection.cases))
        only = {name: sample for name in SAMPLED if name in backends}
    extra: dict[str, Any] = {"wish": msgspec.to_builtins(wish)}
    if wish.paths:
        extra["paths"] = list(wish.paths)
    if selection.slow:
        extra["slow_left_out"] = selection.slow
    if suite.skipped:
        extra["skipped"] = len(suite.skipped)
    extra["divergences"] = {
        divergence.id: {
            "why": divergence.why,
            "see": divergence.see,
            "where": f"{divergence.origin.file}:{divergence.origin.line}",
            "quantities": list(divergence.quantities or divergence.size),
        }
        for divergence in suite.divergences.values()
    }
    return Granted(Plan(selection.cases, backends, only, suite.divergences), extra)
