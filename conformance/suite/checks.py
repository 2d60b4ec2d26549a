"""What the structs cannot say of a case file: names that must exist, arguments of the op, conditions, duplicates.

Works on the plain values of a file that may be wrong in any way, so that all mistakes are shown at once.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import msgspec

from conformance.ops import OPS, Argument
from conformance.suite.arguments import wrong_kind
from conformance.suite.conditions import mistakes
from conformance.suite.data_families import DATA
from conformance.suite.explain import misfits
from conformance.suite.positions import Document
from conformance.suite.problems import Path, Problem, did_you_mean, show, unknown
from conformance.suite.schema import AXES
from conformance.suite.when import equal

_ACTIONS = ("skip", "raises", "tolerance", "set", "marks", "robustness")


class Checks:
    """All checks of one file; ``problems`` grows."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.file: Mapping[str, Any] = document.value if isinstance(document.value, dict) else {}
        self.op = self._op(self.file.get("op"), ("op",))

    def run(self) -> list[Problem]:
        self._fields(self.file.get("defaults"), ("defaults",), self.op)
        for index, group in _entries(self.file, "groups"):
            self._group(group, ("groups", index))
        for index, case in _entries(self.file, "cases"):
            path: Path = ("cases", index)
            self._fields(case, path, self._op(case.get("op", self.op), (*path, "op")))
        for index, divergence in _entries(self.file, "divergences"):
            self._divergence(divergence, ("divergences", index))
        self._unique([("groups", "id"), ("cases", "id")])
        self._unique([("divergences", "id")])
        return self.problems

    def _add(self, path: Path, message: str, *, key: bool = False) -> None:
        """A problem at ``path``; of a key, it is shown with the path of the mapping that holds the key."""
        self.problems.append(self.document.problem(path, message, key=key, shown=path[:-1] if key else None))

    # ---- ops and fields ----

    def _op(self, found: Any, path: Path) -> str | None:
        if isinstance(found, str) and found in OPS:
            return found
        if isinstance(found, str):
            self._add(path, unknown("op", found, tuple(OPS)))
        return None

    def _ops(self) -> list[str]:
        """Every op that the file speaks of."""
        named = [self.op]
        named += [group["set"].get("op") for _, group in _entries(self.file, "groups") if _is_map(group.get("set"))]
        named += [case.get("op") for _, case in _entries(self.file, "cases")]
        return sorted({op for op in named if isinstance(op, str) and op in OPS})

    def _fields(self, fields: Any, path: Path, op: str | None) -> None:
        if not _is_map(fields):
            return
        if op is not None and _is_map(fields.get("args")):
            for name, value in fields["args"].items():
                self._argument(op, name, value, (*path, "args", name))
        if op is not None and op != self.op and path[0] != "defaults":
            self._inherited(op, (*path, "op"))
        self._data(fields.get("data"), (*path, "data"))
        self._raises(fields.get("raises"), (*path, "raises"))
        self._tolerance(fields.get("tolerance"), (*path, "tolerance"))

    def _inherited(self, op: str, path: Path) -> None:
        defaults = self.file.get("defaults")
        args = defaults.get("args") if _is_map(defaults) else None
        for name in args if _is_map(args) else ():
            if name not in _arguments(op):
                self._add(path, f"{op} has no argument '{name}', which defaults set; give it a file of its own")

    def _argument(self, op: str, name: str, value: Any, path: Path) -> None:
        arguments = _arguments(op)
        if name not in arguments:
            hint = did_you_mean(name, arguments) or f"; {op} takes {', '.join(arguments)}"
            self._add(path, f"unknown {show(name)}{hint}", key=True)
        elif (wrong := wrong_kind(arguments[name], value)) is not None:
            self._add(path, wrong)

    def _data(self, found: Any, path: Path) -> None:
        if _is_map(found):
            for label, value in found.items():
                self._data(value, (*path, label))
        elif isinstance(found, str) and found not in DATA:
            self._add(path, unknown("data generator", found, tuple(DATA)))

    def _raises(self, raises: Any, path: Path) -> None:
        match = raises.get("match") if _is_map(raises) else None
        if isinstance(match, str) and (wrong := _bad_pattern(match)):
            self._add((*path, "match"), f"{show(match)} is not a regular expression: {wrong}")

    def _tolerance(self, tolerance: Any, path: Path) -> None:
        for quantity, figures in tolerance.items() if _is_map(tolerance) else ():
            if _is_map(figures) and not figures:
                self._add((*path, quantity), "an empty tolerance; give rtol, atol, ulp or budget")

    # ---- groups ----

    def _group(self, group: Mapping[str, Any], path: Path) -> None:
        fields = group.get("set")
        named = fields.get("op", self.op) if _is_map(fields) else self.op
        op = self._op(named, (*path, "set", "op")) if named != self.op else self.op
        self._fields(fields, (*path, "set"), op)
        vary = group.get("vary")
        for axis, values in vary.items() if _is_map(vary) else ():
            self._axis(op, axis, values, (*path, "vary", axis))
        for index, rule in _entries(group, "rules"):
            self._rule(rule, (*path, "rules", index), op, vary if _is_map(vary) else {})

    def _axis(self, op: str | None, axis: str, values: Any, path: Path) -> None:
        is_argument = axis.startswith("args.")
        known = (op is None or axis[5:] in _arguments(op)) if is_argument else axis in AXES
        if not known:
            names = [*AXES, *(f"args.{name}" for name in (_arguments(op) if op else ()))]
            hint = did_you_mean(axis, names)
            if not hint and f"args.{axis}" in names:
                hint = f"; did you mean 'args.{axis}'?"
            self._add(path, f"{show(axis)} cannot be varied{hint}", key=True)
            return
        if not isinstance(values, list | dict):
            return  # the structs say so
        if not values:
            self._add(path, "no values; give a list, or a mapping of labels to values")
        items: list[tuple[str | int, Any]] = list(values.items() if isinstance(values, dict) else enumerate(values))
        for place, (name, value) in enumerate(items):
            self._value(op, axis, value, (*path, name))
            earlier = next((other for other, seen in items[:place] if equal(seen, value)), None)
            if earlier is not None:
                self._add((*path, name), f"{show(value)} is listed twice")

    def _value(self, op: str | None, axis: str, value: Any, path: Path) -> None:
        if axis.startswith("args."):
            if op is not None and (wrong := wrong_kind(_arguments(op)[axis[5:]], value)) is not None:
                self._add(path, wrong)
        elif _unfit(value, axis):
            self.problems.extend(misfits(self.document, value, path, AXES[axis]))
        elif axis == "data":
            self._data(value, path)

    def _rule(self, rule: Mapping[str, Any], path: Path, op: str | None, vary: Mapping[str, Any]) -> None:
        self._when(rule.get("when"), (*path, "when"), [op] if op else [], runtime=False)
        actions = [action for action in _ACTIONS if action in rule]
        if not actions:
            self._add(path, f"a rule without effect; give one of {', '.join(_ACTIONS)}")
        elif "skip" in actions and len(actions) > 1:
            self._add(
                (*path, "skip"), f"a rule that skips does nothing else; take out {', '.join(actions[1:])}", key=True
            )
        self._fields(rule.get("set"), (*path, "set"), op)
        self._raises(rule.get("raises"), (*path, "raises"))
        self._tolerance(rule.get("tolerance"), (*path, "tolerance"))
        for name in _flat_names(rule.get("set")):
            if name in vary:
                at: Path = (*path, "set", *name.split(".", 1))
                self._add(at, f"'{name}' is varied by this group; its label would not tell the truth", key=True)

    # ---- conditions, divergences, ids ----

    def _when(self, when: Any, path: Path, ops: list[str], *, runtime: bool) -> None:
        if not _is_map(when) or not ops:
            return
        for inside, message, key in mistakes(when, ops, runtime=runtime):
            self._add((*path, *inside), message, key=key)

    def _divergence(self, divergence: Mapping[str, Any], path: Path) -> None:
        self._when(
            divergence.get("when"), (*path, "when"), _ops_of(divergence.get("when")) or self._ops(), runtime=True
        )
        self._raises(divergence.get("raises"), (*path, "raises"))
        self._reference(divergence, (*path, "reference"))
        size = divergence.get("size")
        for quantity, bounds in size.items() if _is_map(size) else ():
            if isinstance(bounds, list) and len(bounds) == 2 and all(map(_is_number, bounds)) and bounds[0] > bounds[1]:
                self._add((*path, "size", quantity), f"the range {show(bounds)} is empty; write the smaller size first")

    def _reference(self, divergence: Mapping[str, Any], path: Path) -> None:
        name = divergence.get("reference")
        ops = _ops_of(divergence.get("when")) or self._ops()
        known = {variant for op in ops if op in OPS for variant in OPS[op].variants}
        if isinstance(name, str) and name not in known:
            these = ", ".join(sorted(known)) or "none"
            self._add(path, f"'{name}' is no other definition of {', '.join(ops)}; there is: {these}")

    def _unique(self, places: list[tuple[str, str]]) -> None:
        seen: dict[str, int] = {}
        for section, field in places:
            for index, entry in _entries(self.file, section):
                name = entry.get(field)
                if not isinstance(name, str):
                    continue
                line, _ = self.document.mark((section, index, field))
                if name in seen:
                    self._add((section, index, field), f"the id '{name}' stands on line {seen[name]} already")
                seen.setdefault(name, line)


def _is_map(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _entries(parent: Mapping[str, Any], name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    entries = parent.get(name)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield index, entry


def _arguments(op: str) -> dict[str, Argument]:
    return {argument.name: argument for argument in OPS[op].arguments}


def _ops_of(when: Any) -> list[str]:
    """The ops that a condition names outright."""
    named = when.get("op") if isinstance(when, dict) else None
    return [op for op in (named if isinstance(named, list) else [named]) if isinstance(op, str) and op in OPS]


def _flat_names(fields: Any) -> Iterator[str]:
    for name, value in fields.items() if isinstance(fields, dict) else ():
        if name == "args" and isinstance(value, dict):
            yield from (f"args.{argument}" for argument in value)
        else:
            yield name


def _unfit(value: Any, axis: str) -> bool:
    try:
        msgspec.convert(value, AXES[axis], strict=True)
    except msgspec.ValidationError:
        return True
    return False


def _bad_pattern(pattern: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "[[" may mean something else one day
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        return str(error)
    return None
