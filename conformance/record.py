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


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Named mistakes that together reproduce what was observed in one case.

    ``values`` are those of the wrong quantities that they reproduce; ``left`` are wrong quantities that they do not.
    """

    mistakes: tuple[str, ...]
    values: int = 0
    left: tuple[str, ...] = ()


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that is so about the error of one quantity in one case; ``kind`` is what facts are merged by."""

    quantity: str
    kind: str
    says: str


class Suspicion(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one failing case says about its cause.

    ``explanations`` are equally good; ``values`` counts those of the quantities over their allowance.  ``faults`` are
    named faults of structure.  ``facts`` hold whether or not anything is explained.  ``limit`` says what cut the
    search short, ``searched`` whether there was one.
    """

    explanations: tuple[Explanation, ...] = ()
    values: int = 0
    faults: tuple[str, ...] = ()
    searched: bool = False
    facts: tuple[Fact, ...] = ()
    limit: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the failing cases of one op on one backend have in common.

    ``mistakes`` were all made; each entry lists ids that nothing here tells apart.  ``facts`` are what is known where
    no mistake, or not the whole, is named.  ``cases`` of the ``failing`` ones are explained, with ``values`` of all
    ``wrong`` values.
    """

    op: str
    backend: str
    mistakes: tuple[tuple[str, ...], ...] = ()
    says: dict[str, str] = {}  # mistake -> its sentence
    cases: int = 0
    failing: int = 0
    values: int = 0
    wrong: int = 0
    facts: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


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
    suspicion: Suspicion | None = None  # of a failure; what the process searched before decides how far it looks


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
    causes: tuple[Cause, ...] = ()


Line = Header | Record | Footer
