"""The language of ``when``: a mapping from keys to what they must be, all of which must hold.

A value is itself, a list is any of its values, null is the value null; ``{contains: x}``, ``{not: x}`` and
``{gt, ge, lt, le: number}`` are operators; keys that name packages take version specifiers such as ``"<2.16"``.
For keys whose value is a list (shape, steps), a flat list is that value, and a list of lists is any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from conformance.ops import OPS
from conformance.suite.case import Case, step_words

When = Mapping[str, Any]
Context = Mapping[str, Any]
Predicate = Callable[[Any], bool]
Compiled = tuple[tuple[str, Predicate], ...]

PACKAGES = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "python")
RUNTIME = ("backend", "device", "machine", *PACKAGES)
FIELDS = (
    "op", "id", "group", "shape", "dtype", "param_dtype", "layout", "grad_layout", "requires_grad", "data", "params",
    "buffers", "steps", "optimizer", "seed", "robustness", "raises",
    "export.dynamic", "export.opset", "export.optimisation",
)  # fmt: skip
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda actual, bound: bool(actual > bound),
    "ge": lambda actual, bound: bool(actual >= bound),
    "lt": lambda actual, bound: bool(actual < bound),
    "le": lambda actual, bound: bool(actual <= bound),
}
_TRANSLATED = ("shape", "steps", "optimizer", "raises")
OPERATORS = ("contains", "not", *ORDER)
_ABSENT = object()  # stands for a key that the context does not have


# ---- matching ------------------------------------------------------------------------------------------------------


def matches(when: When, context: Context) -> bool:
    """Whether ``when`` can hold: keys that are known only at run time may match where the context lacks them."""
    return static_match(compiled(when), context)


def holds(when: When, context: Context) -> bool:
    """Whether ``when`` holds: a key that the context lacks does not match."""
    return all(predicate(context.get(key, _ABSENT)) for key, predicate in compiled(when))


def static_match(condition: Compiled, context: Context) -> bool:
    """:func:`matches` for a condition that is compiled already."""
    for key, predicate in condition:
        actual = context.get(key, _ABSENT)
        if actual is _ABSENT and key in RUNTIME:
            continue
        if not predicate(actual):
            return False
    return True


def compiled(when: When) -> Compiled:
    """``when`` as predicates, for conditions that are asked of many cases."""
    return tuple((key, _version(wanted) if key in PACKAGES else _predicate(wanted)) for key, wanted in when.items())


def of_runtime(when: When) -> When:
    """The part of ``when`` that is known only at run time."""
    return {key: wanted for key, wanted in when.items() if key in RUNTIME}


def equal(left: Any, right: Any) -> bool:
    """Equality as a reader of YAML sees it: 1 is 1.0, but true is not 1; .nan is .nan."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right)


def _predicate(wanted: Any) -> Predicate:
    if isinstance(wanted, dict):
        return _operators(wanted)
    if isinstance(wanted, list):
        return _any_of(wanted)
    return lambda actual: equal(actual, wanted)


def _any_of(wanted: list[Any]) -> Predicate:
    flat = not any(isinstance(value, list | dict) for value in wanted)
    each = [_predicate(value) for value in wanted]

    def test(actual: Any) -> bool:
        if flat and isinstance(actual, list | tuple):
            return equal(actual, wanted)
        return any(predicate(actual) for predicate in each)

    return test


def _operators(wanted: Mapping[str, Any]) -> Predicate:
    tests = [_operator(name, value) for name, value in wanted.items()]
    return lambda actual: actual is not _ABSENT and all(test(actual) for test in tests)


def _operator(name: str, value: Any) -> Predicate:
    if name == "not":
        denied = _predicate(value)
        return lambda actual: not denied(actual)
    if name == "contains":
        wanted = value if isinstance(value, list) else [value]
        return lambda actual: any(_contains(actual, each) for each in wanted)
    order = ORDER[name]
    return lambda actual: isinstance(actual, int | float) and not isinstance(actual, bool) and order(actual, value)


def _contains(actual: Any, wanted: Any) -> bool:
    if isinstance(actual, list | tuple):
        return any(equal(each, wanted) for each in actual)
    return isinstance(actual, str) and isinstance(wanted, str) and wanted in actual


def _version(wanted: Any) -> Predicate:
    if isinstance(wanted, list):
        each = [_version(value) for value in wanted]
        return lambda actual: any(predicate(actual) for predicate in each)
    if isinstance(wanted, dict):
        denied = _version(wanted["not"])
        return lambda actual: isinstance(actual, str) and not denied(actual)
    return lambda actual: isinstance(actual, str) and _satisfies(actual, str(wanted))


@lru_cache(maxsize=1024)
def _satisfies(version: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


# ---- contexts ------------------------------------------------------------------------------------------------------


def case_context(case: Case) -> dict[str, Any]:
    """A case as the keys and values that a ``when`` speaks of."""
    return flatten(
        {field: attrgetter(field)(case) for field in FIELDS if field not in _TRANSLATED}
        | {
            "shape": list(case.shape),
            "steps": step_words(case.steps, case.resets),
            "optimizer": case.optimizer is not None,
            "raises": case.raises is not None,
        },
        case.args,
        facts_of(case.op, case.args, case.shape),
    )


def flatten(fields: Mapping[str, Any], args: Mapping[str, Any], facts: Mapping[str, int]) -> dict[str, Any]:
    """One flat mapping: the fields, ``args.NAME`` and ``facts.NAME``."""
    context = dict(fields)
    for name, value in args.items():
        context["args." + name] = value
    for name, fact in facts.items():
        context["facts." + name] = fact
    return context


def facts_of(op: str, args: Mapping[str, Any], shape: Sequence[int]) -> dict[str, int]:
    """The facts of a case; of arguments that do not fit the shape, only those that the shape alone decides."""
    size = tuple(shape)
    try:
        return OPS[op].facts(args, size)
    except Exception:  # noqa: BLE001 - such a case must raise; facts of it are not defined
        return {"rank": len(size), "batch": size[0] if size else 0, "elements": math.prod(size)}


@lru_cache(maxsize=64)
def fact_names(op: str) -> tuple[str, ...]:
    """The names of the facts of an op."""
    entry = OPS[op]
    shape = (2,) * entry.ranks[-1]
    return tuple(facts_of(op, entry.complete(entry.defaults(), shape), shape))
