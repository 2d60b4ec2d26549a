"""A case file that is right in form becomes cases: axes multiplied out or covered, rules applied, ids given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from conformance.suite import limits
from conformance.suite.case import Case, Origin
from conformance.suite.drafts import Completed, Layer, Settings, Unfit, build, complete, layer, unsaid, usual
from conformance.suite.identity import case_id
from conformance.suite.labels import distinct, label_of
from conformance.suite.pairwise import Row, TooEntangled, cover, pair_count
from conformance.suite.positions import Document
from conformance.suite.problems import Path, Problem
from conformance.suite.rules import Rule, effects, read_rules, skipping
from conformance.suite.when import equal


@dataclass(frozen=True, slots=True)
class Skipped:
    """A combination that a rule removed."""

    id: str
    reason: str
    origin: Origin


class Drafted(NamedTuple):
    """A case and where each of its settings stands."""

    case: Case
    layer: Layer


class Axis(NamedTuple):
    """One axis of a group; ``usual`` is the value that is not worth a label, ``plain`` says which values equal it.

    ``plain`` is empty where that depends on the dtype of the case.
    """

    name: str
    labels: list[str]
    values: list[Any]
    paths: list[Path]
    usual: Any
    plain: list[bool]

    def is_usual(self, place: int, settings: Settings) -> bool:
        """Whether a case with these settings would have the value if the axis were not mentioned."""
        if self.plain:
            return self.plain[place]
        value = self.values[place]
        follows = unsaid(self.name, settings)
        return equal(follows if value is None else value, follows if self.usual is None else self.usual)


class Group(NamedTuple):
    """What the combinations of one group share."""

    name: str
    path: Path
    about: str
    base: Layer
    axes: list[Axis]
    rules: list[Rule]


@dataclass(slots=True)
class Expansion:
    """Everything that one file gives."""

    document: Document
    stem: str
    drafted: list[Drafted] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def run(self) -> None:
        """Expand the whole file, in the order in which it is written."""
        file: Mapping[str, Any] = self.document.value
        about = file.get("about", "")
        base = Layer({"op": file["op"]}, {"op": ("op",)}) | layer(self.document, file.get("defaults"), ("defaults",))
        for index, entry in enumerate(file.get("groups", ())):
            self._group(entry, ("groups", index), base, about)
        for index, entry in enumerate(file.get("cases", ())):
            self._explicit(entry, ("cases", index), base, about)
        if not file.get("groups") and not file.get("cases"):
            self.problems.append(self.document.problem((), "no groups and no cases; give at least one of them"))

    def _explicit(self, entry: Mapping[str, Any], path: Path, base: Layer, about: str) -> None:
        own = base | layer(self.document, entry, path)
        name = case_id(self.stem, entry["id"])
        self._add(own, name, Group("", path, about, base, [], []), None)

    # ---- groups ----

    def _group(self, entry: Mapping[str, Any], path: Path, base: Layer, about: str) -> None:
        base = base | layer(self.document, entry.get("set"), (*path, "set"))
        marks = (*entry.get("marks", ()), *(("slow",) if entry.get("slow") else ()))
        base = base | Layer({"marks": marks}, {"marks": path})
        axes = self._axes(entry.get("vary", {}), (*path, "vary"), base)
        rules = read_rules(self.document, entry.get("rules", ()), (*path, "rules"))
        group = Group(entry["id"], path, entry.get("about", about), base, axes, rules)
        pairwise = entry.get("combine", "all") == "pairwise"
        if self._too_many(group, pairwise=pairwise):
            return
        known = len(self.problems)
        before = len(self.drafted)
        for row in self._pairwise(group) if pairwise else product(*(range(len(axis.values)) for axis in axes)):
            self._combination(group, row)
        if len(self.problems) == known:
            self._unused(group, empty=len(self.drafted) == before, pairwise=pairwise)

    def _axes(self, vary: Mapping[str, Any], path: Path, base: Layer) -> list[Axis]:
        labels: dict[str, list[str]] = {}
        for name, given in vary.items():
            labels[name] = list(given) if isinstance(given, dict) else _unique([label_of(name, each) for each in given])
        chosen = distinct(labels)
        axes = []
        for name, given in vary.items():
            values = list(given.values()) if isinstance(given, dict) else given
            places = list(given) if isinstance(given, dict) else range(len(given))
            paths = [(*path, name, place) for place in places]
            expected = usual(name, base)
            plain = [] if name in ("param_dtype", "requires_grad") else [equal(value, expected) for value in values]
            axes.append(Axis(name, chosen[name], values, paths, expected, plain))
        return axes

    def _too_many(self, group: Group, *, pairwise: bool) -> bool:
        sizes = [len(axis.values) for axis in group.axes]
        number, limit, noun = math.prod(sizes), limits.CASES_PER_FILE, "combinations"
        if pairwise:
            number, limit, noun = pair_count(sizes), limits.PAIRS, "pairs of values"
        room = len(self.drafted) + len(self.skipped)
        if number + (0 if pairwise else room) <= limit:
            return False
        message = f"{number:,} {noun}; at most {limit:,} are allowed in a file; vary less, or combine: pairwise"
        self.problems.append(self.document.problem((*group.path, "vary"), message))
        return True

    def _layer(self, group: Group, row: Row) -> Layer:
        """The settings of a row; of the beginning of one, with the remaining axes at their base."""
        settings, paths = dict(group.base.settings), dict(group.base.paths)
        for axis, value in zip(group.axes, row, strict=False):
            settings[axis.name] = axis.values[value]
            paths[axis.name] = axis.paths[value]
        return Layer(settings, paths)

    def _id(self, group: Group, row: Row, settings: Settings) -> str:
        labels = [
            axis.labels[value]
            for axis, value in zip(group.axes, row, strict=False)
            if not axis.is_usual(value, settings)
        ]
        return case_id(self.stem, group.name, labels)

    def _combination(self, group: Group, row: Row) -> None:
        own = self._layer(group, row)
        name = self._id(group, row, own.settings)
        if not group.rules:
            self._add(own, name, group, None)
            return
        try:
            done = complete(own.settings)
        except Unfit as error:
            self._problem(group, own, str(error))
            return
        context = done.context(name, group.name)
        removed = skipping(group.rules, context)
        if removed is not None:
            self._skip(name, removed)
            return
        changed, clashes = effects(group.rules, context)
        for setting, first, second in clashes:
            line, _ = self.document.mark(first.path)
            message = f"sets '{setting}' of {name}, which the rule on line {line} sets too"
            problem = self.document.problem(second.path, message)
            if not any((each.line, each.path) == (problem.line, problem.path) for each in self.problems):
                self.problems.append(problem)
        self._add(own | changed, name, group, None if changed.settings else done)

    def _add(self, own: Layer, name: str, group: Group, done: Completed | None) -> None:
        if len(self.drafted) >= limits.CASES_PER_FILE:
            if len(self.drafted) == limits.CASES_PER_FILE and not self.problems:
                self.problems.append(
                    self.document.problem(
                        group.path, f"more than {limits.CASES_PER_FILE:,} cases in the file; split it"
                    )
                )
            return
        origin = self.document.origin(group.path)
        try:
            case = build(own.settings, name=name, group=group.name, about=group.about, origin=origin, done=done)
        except Unfit as error:
            self._problem(group, own, str(error))
            return
        self.drafted.append(Drafted(case, own))

    def _problem(self, group: Group, own: Layer, message: str) -> None:
        """A problem of one case: where its shape stands if that is in the group or case, else the group or case."""
        shape = own.paths.get("shape", ())
        where = shape if shape[: len(group.path)] == group.path else group.path
        problem = self.document.problem(where, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def _skip(self, name: str, rule: Rule) -> None:
        assert rule.skip is not None
        self.skipped.append(Skipped(name, rule.skip, self.document.origin(rule.path)))

    # ---- pairwise ----

    def _pairwise(self, group: Group) -> list[Row]:
        """A pairwise cover of what the skips leave; what they refused on the way is listed as skipped."""
        deciding = [(rule, _last_axis(rule, group.axes)) for rule in group.rules if rule.skip is not None]
        verdicts: dict[Row, Rule | None] = {}

        def refusal(row: Row) -> Rule | None:
            decided = [rule for rule, last in deciding if len(row) > last]
            if not decided:
                return None
            own = self._layer(group, row)
            try:
                done = complete(own.settings)
            except Unfit:
                return None
            return skipping(decided, done.context(self._id(group, row, own.settings), group.name))

        def allowed(row: Row) -> bool:
            if row not in verdicts:
                verdicts[row] = refusal(row)
            return verdicts[row] is None

        try:
            rows = cover([len(axis.values) for axis in group.axes], allowed)
        except TooEntangled:
            message = "the skips leave too few combinations to find a pairwise cover; use combine: all"
            self.problems.append(self.document.problem(group.path, message))
            return []
        named: set[str] = set()
        for row, rule in verdicts.items():
            name = self._id(group, row, self._layer(group, row).settings)
            if rule is not None and name not in named:
                named.add(name)
                self._skip(name, rule)
        return rows

    def _unused(self, group: Group, *, empty: bool, pairwise: bool) -> None:
        if pairwise:
            self._search(group)
        for rule in group.rules:
            if not rule.hits:
                what = "combination" if rule.skip is not None else "case that is left"
                self.problems.append(
                    self.document.problem((*rule.path, "when"), f"matches no {what} of group '{group.name}'")
                )
        if empty:
            self.problems.append(
                self.document.problem(
                    group.path, f"the rules skip every combination of group '{group.name}'", shown=group.path
                )
            )

    def _search(self, group: Group) -> None:
        """Whether a skip that the cover never met removes anything at all."""
        sizes = [len(axis.values) for axis in group.axes]
        for number, row in enumerate(product(*map(range, sizes))):
            waiting = [rule for rule in group.rules if rule.skip is not None and not rule.hits]
            if not waiting or number > limits.CASES_PER_FILE:
                return
            own = self._layer(group, row)
            try:
                skipping(waiting, complete(own.settings).context("", group.name))
            except Unfit:
                continue


def _unique(labels: list[str]) -> list[str]:
    """Labels made different by their place where two values of an axis would read the same."""
    return [label if labels.index(label) == place else f"{label}.{place + 1}" for place, label in enumerate(labels)]


def _last_axis(rule: Rule, axes: list[Axis]) -> int:
    """The number of the last axis that the rule's condition may depend on; -1 where it depends on none."""
    needed = set(rule.when)
    if any(key.startswith(("facts.", "args.")) for key in needed):
        needed |= {"shape"} | {axis.name for axis in axes if axis.name.startswith("args.")}
    if needed & {"param_dtype", "requires_grad"}:
        needed.add("dtype")
    if "id" in needed:
        return len(axes) - 1
    return max((number for number, axis in enumerate(axes) if axis.name in needed), default=-1)
