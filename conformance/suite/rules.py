"""The rules of a group, applied to one combination at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.suite.drafts import Layer, layer
from conformance.suite.positions import Document
from conformance.suite.problems import Path
from conformance.suite.when import Compiled, compiled, static_match


@dataclass(slots=True)
class Rule:
    """One rule; ``hits`` counts the combinations in which it had an effect."""

    path: Path
    condition: Compiled
    skip: str | None
    effect: Layer
    when: Mapping[str, Any] = field(default_factory=dict)
    hits: int = 0

    def applies(self, context: Mapping[str, Any]) -> bool:
        return static_match(self.condition, context)


def read_rules(document: Document, entries: Sequence[Mapping[str, Any]], path: Path) -> list[Rule]:
    """The rules that stand at ``path``, which the structs and the checks have accepted."""
    rules = []
    for index, entry in enumerate(entries):
        here: Path = (*path, index)
        said = {name: entry[name] for name in ("raises", "tolerance", "marks", "robustness") if name in entry}
        effect = layer(document, entry.get("set"), (*here, "set")) | layer(document, said, here)
        effect.settings.pop("about", None)
        rules.append(Rule(here, compiled(entry["when"]), entry.get("skip"), effect, entry["when"]))
    return rules


def skipping(rules: Sequence[Rule], context: Mapping[str, Any]) -> Rule | None:
    """The first rule that removes the combination; every skip that matches counts as used."""
    found = None
    for rule in rules:
        if rule.skip is not None and rule.applies(context):
            rule.hits += 1
            found = found or rule
    return found


def effects(rules: Sequence[Rule], context: Mapping[str, Any]) -> tuple[Layer, list[tuple[str, Rule, Rule]]]:
    """What the rules change together, and the settings that two of them would set."""
    changed = Layer()
    by: dict[str, Rule] = {}
    clashes = []
    for rule in rules:
        if rule.skip is not None or not rule.applies(context):
            continue
        rule.hits += 1
        for name in rule.effect.settings:
            if name in by and name != "marks":  # marks add up
                clashes.append((name, by[name], rule))
            by[name] = rule
        changed = changed | rule.effect
    return changed, clashes
