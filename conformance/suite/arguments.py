"""Arguments of an op, as a case file gives them: checked against the op's entry and brought to one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conformance.ops import Argument
from conformance.suite import limits
from conformance.suite.problems import did_you_mean, show

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "ints": "a list of integers",
    "last": "{last: the number of trailing axes}",
}
_BUILT_IN = frozenset(_WORDS)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ints(value: object) -> bool:
    return isinstance(value, list) and len(value) <= limits.RANK and all(map(_is_int, value))


def _is_last(value: object) -> bool:
    return isinstance(value, dict) and list(value) == ["last"] and _is_int(value["last"]) and 0 <= value["last"] <= 8


_TESTS = {
    "int": _is_int,
    "float": lambda value: isinstance(value, float) or _is_int(value),
    "bool": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "ints": _is_ints,
    "last": _is_last,
}


def wrong_kind(argument: Argument, value: object) -> str | None:
    """None, or what is wrong with a value that a case file gives for ``argument``."""
    if any(_TESTS[kind](value) if kind in _BUILT_IN else value == kind for kind in argument.kinds):
        return None
    expected = " or ".join(
        dict.fromkeys(
            _WORDS.get(kind, kind) for kind in argument.kinds if not (kind == "int" and "float" in argument.kinds)
        )
    )
    hint = did_you_mean(value, [kind for kind in argument.kinds if kind not in _BUILT_IN])
    return f"{argument.name} takes {expected}, not {show(value)}{hint or truth_hint(value, 'bool' in argument.kinds)}"


def truth_hint(value: object, wants_bool: bool) -> str:  # noqa: FBT001 - the one thing it asks
    """What to write instead of the words that older YAML took for true and false."""
    words = {"yes": "true", "on": "true", "no": "false", "off": "false", "True": "true", "False": "false"}
    return f"; write {words[value]}" if wants_bool and isinstance(value, str) and value in words else ""


def normalised(arguments: Mapping[str, Argument], args: Mapping[str, Any]) -> dict[str, Any]:
    """``args`` with 1 as 1.0 where the argument is a float, so that both make the same case."""
    return {
        name: float(value) if _is_int(value) and "float" in arguments[name].kinds else value
        for name, value in args.items()
    }
