"""What is wrong with a ``when``, before it is asked of any case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from conformance.ops import OPS
from conformance.suite.case import BuffersKind, Dtype, Layout, ParamsKind, StepWord
from conformance.suite.data_families import DATA
from conformance.suite.problems import Path, did_you_mean, show, unknown
from conformance.suite.schema import Optimisation
from conformance.suite.when import FIELDS, OPERATORS, ORDER, PACKAGES, RUNTIME, fact_names

Mistake = tuple[Path, str, bool]  # where in the condition, what, and whether it is the key that is wrong

_VOCABULARY: dict[str, tuple[str, ...]] = {
    "op": tuple(OPS),
    "dtype": get_args(Dtype),
    "param_dtype": get_args(Dtype),
    "layout": get_args(Layout),
    "grad_layout": get_args(Layout),
    "data": tuple(DATA),
    "params": get_args(ParamsKind),
    "buffers": get_args(BuffersKind),
    "steps": get_args(StepWord),
    "export.optimisation": get_args(Optimisation),
}
_SPECIFIER = re.compile(
    r"\s*(~=|==|!=|<=|>=|<|>)\s*v?[0-9]+(\.[0-9]+)*((a|b|rc|\.dev|\.post)[0-9]+)*(\+[A-Za-z0-9.]+)?\s*"
    r"|\s*(==|!=)\s*v?[0-9]+(\.[0-9]+)*\.\*\s*"
)


def mistakes(when: Mapping[str, Any], ops: Sequence[str], *, runtime: bool) -> Iterator[Mistake]:
    """What is wrong with a ``when``; ``ops`` are those of the file.

    ``runtime`` says whether keys that are known only at run time may be used.
    """
    known = {*FIELDS, *(f"args.{argument.name}" for op in ops for argument in OPS[op].arguments)}
    known |= {f"facts.{name}" for op in ops for name in fact_names(op)}
    for key, wanted in when.items():
        if key in RUNTIME and not runtime:
            yield (key,), f"'{key}' is known only when a case runs; state it in divergences", True
        elif key in PACKAGES:
            yield from _version((key,), wanted)
        elif key not in known and key not in RUNTIME:
            yield (key,), f"unknown {show(key)}{_near(key, known)}", True
        else:
            yield from _value((key,), wanted, _VOCABULARY.get(key))


def _near(key: str, known: set[str]) -> str:
    for prefix in ("args.", "facts."):
        if prefix + key in known:
            return f"; did you mean '{prefix}{key}'?"
    space, dot, name = key.partition(".")
    if not dot or space not in ("args", "facts"):
        return did_you_mean(key, known | set(RUNTIME))
    names = sorted(each.removeprefix(space + dot) for each in known if each.startswith(space + dot))
    near = did_you_mean(name, names)
    return near.replace("'", f"'{space}{dot}", 1) if near else f"; {space} are {', '.join(names)}"


def _version(path: Path, wanted: Any) -> Iterator[Mistake]:
    if isinstance(wanted, list) and wanted:
        for index, value in enumerate(wanted):
            yield from _version((*path, index), value)
    elif isinstance(wanted, dict) and list(wanted) == ["not"]:
        yield from _version((*path, "not"), wanted["not"])
    elif not (isinstance(wanted, str) and all(map(_is_specifier, wanted.split(",")))):
        yield path, f'{show(wanted)} is not a version specifier; expected text such as "<2.16" or ">=2.4,<2.7"', False


def _is_specifier(text: str) -> bool:
    found = _SPECIFIER.fullmatch(text)
    return found is not None and (found[1] != "~=" or found[2] is not None)


def _value(path: Path, wanted: Any, words: tuple[str, ...] | None) -> Iterator[Mistake]:
    if isinstance(wanted, list):
        if not wanted and path[0] != "shape":
            yield path, "an empty list matches nothing", False
        for index, value in enumerate(wanted):
            yield from _value((*path, index), value, words)
    elif isinstance(wanted, dict):
        yield from _operators(path, wanted, words)
    elif words is not None and not isinstance(wanted, str):
        yield path, f"{show(wanted)} is not text; expected one of {', '.join(words)}", False
    elif words is not None and wanted not in words:
        yield path, unknown(str(path[0]), wanted, words), False


def _operators(path: Path, wanted: Mapping[str, Any], words: tuple[str, ...] | None) -> Iterator[Mistake]:
    if not wanted:
        yield path, f"an empty mapping; expected one of {', '.join(OPERATORS)}", False
    for name, value in wanted.items():
        here: Path = (*path, name)
        if name not in OPERATORS:
            yield here, unknown("operator", name, OPERATORS), True
        elif name not in ORDER:
            yield from _value(here, value, words)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield here, f"{name} takes a number, not {show(value)}", False
