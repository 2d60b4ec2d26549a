"""One JSON line: the verdict of one case on one backend, with the figures behind it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Verdict = Literal["pass", "fail", "error", "crash", "timeout", "known", "fixed", "unsupported", "missing"]
VERDICTS: tuple[Verdict, ...] = (
    "pass", "fail", "error", "crash", "timeout", "known", "fixed", "unsupported", "missing",
)  # fmt: skip
BAD: frozenset[Verdict] = frozenset({"fail", "error", "crash", "timeout"})


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One quantity in its worst step.  ``budget`` is error / allowed at the worst element; 1.0 is the limit."""

    quantity: str
    step: int
    budget: float | None  # None: not a number (structure, exact, or nothing finite to compare)
    error: float | None = None
    allowed: float | None = None
    got: str = ""
    expected: str = ""
    index: tuple[int, ...] = ()
    ulps: float | None = None  # information only
    exceeding: int = 0  # elements over their allowance
    size: int = 0  # elements compared
    relative: float | None = None  # max|error| / max|reference|: the size that divergences speak of
    undetermined: float = 0.0  # fraction of the elements
    n: int = 0  # elements reduced into one statistic
    kappa: float | None = None  # rms(x) / std(x), worst slice
    storage: float | None = None  # share of the allowance that is rounding on store
    source: str = ""  # "model, class A" or "cases/x.yaml:31 tolerance"
    budgets: tuple[float | None, ...] = ()  # per step
    ok: bool = True


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="record"):
    id: str
    key: str
    backend: str
    op: str
    dtype: str
    verdict: Verdict
    reason: str = ""  # one sentence that a person can act on; empty for pass
    where: str = ""  # file:line of the case
    divergence: str = ""
    figures: tuple[Figure, ...] = ()  # worst step of each quantity, worst budget first
    seconds: float = 0.0
    detail: str = ""  # stderr tail, native stack, the framework's own words


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="header"):
    spec: int = 1
    conformance: str = ""
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    suite: str = ""  # digest of all case keys
    cases: int = 0
    backends: tuple[str, ...] = ()
    missing: dict[str, str] = {}  # backend -> why it is not available
    left_out: dict[str, int] = {}  # backend -> cases that a sampled run did not send to it
    expected: int = 0  # records that a complete run holds
    started: str = ""
    command: str = ""
    extra: dict[str, Any] = {}


class Footer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="footer"):
    records: int
    verdicts: dict[str, int]
    seconds: float = 0.0


Line = Header | Record | Footer
