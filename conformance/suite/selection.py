"""Which cases of a suite are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import get_args

from conformance.errors import NothingSelected, UsageError
from conformance.suite.case import Case, Dtype
from conformance.suite.problems import did_you_mean, unknown
from conformance.suite.suite import Suite

_TOKEN = re.compile(r"\s*([()]|[^\s()]+)")
_KEY = re.compile("[0-9a-f]{4,12}")
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases that are asked for, in the order of the suite.

    ``slow`` counts those that would be here too if slow cases had been asked for; ``total`` is the whole suite.
    """

    cases: tuple[Case, ...]
    slow: int
    total: int


def select(
    suite: Suite,
    *,
    op: Collection[str] = (),
    dtype: Collection[str] = (),
    ids: Collection[str] = (),
    keyword: str = "",
    marks: Collection[str] = (),
    slow: bool = False,
) -> Selection:
    """The cases that meet every condition that is given.

    ``ids`` are ids, patterns with ``*`` and ``?``, or (beginnings of) keys; ``keyword`` is words with ``and``, ``or``,
    ``not`` and parentheses, each found anywhere in id, op or dtype.  Slow cases take part when asked for by ``slow``,
    by their mark, or by their full id or key.

    Raises:
        UsageError: for a name that nothing bears.
        NothingSelected: where no case is left.
    """
    _known("op", op, sorted({case.op for case in suite.cases}))
    _known("dtype", dtype, get_args(Dtype))
    _known("mark", marks, sorted({mark for case in suite.cases for mark in case.marks}))
    matching, exact = _named(suite, ids)
    says = _keyword(keyword) if keyword.strip() else lambda _: True
    found = [
        case
        for case in suite.cases
        if (not op or case.op in op)
        and (not dtype or case.dtype in dtype)
        and (not ids or case.id in matching)
        and (not marks or not set(marks).isdisjoint(case.marks))
        and says(f"{case.id} {case.op} {case.dtype}".lower())
    ]
    with_slow = slow or "slow" in marks
    cases = tuple(case for case in found if with_slow or "slow" not in case.marks or case.id in exact)
    if not cases:
        raise NothingSelected("no case is selected", hint=_nothing(suite, len(found)))
    return Selection(cases, len(found) - len(cases), len(suite.cases))


def _nothing(suite: Suite, slow: int) -> str:
    if slow:
        return f"{slow} would be, but are marked slow; ask for slow cases too"
    return f"the suite has {len(suite.cases)} cases; conformance list shows them"


def _known(noun: str, asked: Iterable[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise UsageError(unknown(noun, name, known))


def _named(suite: Suite, ids: Collection[str]) -> tuple[set[str], set[str]]:
    """The ids that are meant, and those among them that were named in full."""
    if not ids:
        return set(), set()
    by_key = {case.key: case.id for case in suite.cases}
    known = {case.id for case in suite.cases}
    matching: set[str] = set()
    exact: set[str] = set()
    for name in ids:
        full = suite.aliases.get(name, name if name in known else by_key.get(name))
        if full is not None:
            exact.add(full)
            continue
        found = {each for each in known if fnmatchcase(each, name.replace("[", "[[]"))} if _is_pattern(name) else set()
        if not found and _KEY.fullmatch(name):
            found = {each for key, each in by_key.items() if key.startswith(name)}
        if not found:
            raise UsageError(f"no case is called '{name}'{_why_not(suite, name, known)}")
        matching |= found
    return matching | exact, exact


def _why_not(suite: Suite, name: str, known: Iterable[str]) -> str:
    for skipped in suite.skipped:
        if skipped.id == name:
            return f"; a rule skips it: {skipped.reason} ({skipped.origin})"
    return did_you_mean(name, known)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


# ---- keywords ------------------------------------------------------------------------------------------------------

Test = Callable[[str], bool]


def _keyword(expression: str) -> Test:
    tokens = _TOKEN.findall(expression)
    if len(tokens) > 200:
        raise UsageError("the keyword expression is too long")
    parser = _Parser(tokens, expression)
    test = parser.either(0)
    if parser.tokens:
        raise parser.error()
    return test


@dataclass(slots=True)
class _Parser:
    """Recursive descent over ``a and not (b or c)``."""

    tokens: list[str]
    expression: str

    def error(self) -> UsageError:
        found = f"'{self.tokens[0]}'" if self.tokens else "the end"
        return UsageError(
            f"cannot read the keywords '{self.expression}': {found} is not expected there",
            hint="write words joined by and, or, not and parentheses, such as: float16 and not (average or empty)",
        )

    def either(self, depth: int) -> Test:
        tests = [self.both(depth)]
        while self._take("or"):
            tests.append(self.both(depth))
        return tests[0] if len(tests) == 1 else lambda text: any(test(text) for test in tests)

    def both(self, depth: int) -> Test:
        tests = [self.one(depth)]
        while self._take("and"):
            tests.append(self.one(depth))
        return tests[0] if len(tests) == 1 else lambda text: all(test(text) for test in tests)

    def one(self, depth: int) -> Test:
        if depth > _DEEPEST or not self.tokens:
            raise self.error()
        if self._take("not"):
            denied = self.one(depth + 1)
            return lambda text: not denied(text)
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise self.error()
            return inner
        if self.tokens[0] in (")", "and", "or"):
            raise self.error()
        word = self.tokens.pop(0).lower()
        return lambda text: word in text

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0].lower() == token:
            self.tokens.pop(0)
            return True
        return False
