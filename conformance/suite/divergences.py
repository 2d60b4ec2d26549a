"""Declared divergences: read from the files, attached to the cases that they may concern, selected for a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from conformance.ops import OPS, Node
from conformance.suite.case import Case, Divergence, Raises
from conformance.suite.expand import Expansion
from conformance.suite.positions import Document
from conformance.suite.problems import Path, Problem, did_you_mean
from conformance.suite.suite import Suite
from conformance.suite.when import Compiled, case_context, compiled, static_match


class Declared(NamedTuple):
    """A divergence with its condition; ``ops`` are those of the file that declares it."""

    divergence: Divergence
    condition: Compiled
    ops: frozenset[str]
    problem: Problem  # to report where it matches nothing


def read_divergences(expansion: Expansion) -> list[Declared]:
    """The divergences of a file.  They hold for all cases of the suite whose op the file is about."""
    document = expansion.document
    ops = frozenset({document.value["op"], *(case.op for case, _ in expansion.drafted)})
    return [
        _declared(document, entry, ("divergences", index), ops)
        for index, entry in enumerate(document.value.get("divergences", ()))
    ]


def _declared(document: Document, entry: Mapping[str, Any], path: Path, ops: frozenset[str]) -> Declared:
    raises = entry.get("raises")
    divergence = Divergence(
        id=entry["id"],
        when=entry["when"],
        why=entry["why"],
        see=entry.get("see", ""),
        size={quantity: (float(low), float(high)) for quantity, (low, high) in entry.get("size", {}).items()},
        precision=entry.get("precision"),
        reference=entry.get("reference", ""),
        quantities=tuple(entry.get("quantities", ())),
        raises=None if raises is None else Raises(raises["type"], raises["match"]),
        always=entry.get("always", True),
        origin=document.origin(path),
    )
    problem = document.problem((*path, "when"), f"the divergence '{divergence.id}' matches no case")
    named = (
        frozenset(op for op in OPS if static_match(compiled({"op": entry["when"]["op"]}), {"op": op}))
        if ("op" in entry["when"])
        else ops
    )
    return Declared(divergence, compiled(entry["when"]), named, problem)


def attach(suite: Suite, files: Sequence[Sequence[Declared]]) -> tuple[Suite, list[Problem]]:
    """The suite with every case knowing the divergences that may concern it, and those that concern none."""
    declared = [each for file in files for each in file]
    problems = list(_clashes(declared))
    if not declared:
        return suite, problems
    matched: set[str] = set()
    by_op: dict[str, list[Declared]] = {}
    cases = []
    for case in suite.cases:
        if case.op not in by_op:
            by_op[case.op] = [each for each in declared if case.op in each.ops]
        candidates = by_op[case.op]
        context = case_context(case) if candidates else {}
        ids = tuple(each.divergence.id for each in candidates if static_match(each.condition, context))
        matched.update(ids)
        cases.append(msgspec.structs.replace(case, divergences=ids) if ids else case)
    problems += [each.problem for each in declared if each.divergence.id not in matched and each.ops & by_op.keys()]
    divergences = {each.divergence.id: each.divergence for each in declared}
    return msgspec.structs.replace(suite, cases=tuple(cases), divergences=divergences), problems


def _clashes(declared: Sequence[Declared]) -> Iterator[Problem]:
    seen: dict[str, Divergence] = {}
    for each in declared:
        first = seen.setdefault(each.divergence.id, each.divergence)
        if first is not each.divergence:
            yield _at_declaration(each, f"the id '{first.id}' stands at {first.origin} already")


def _at_declaration(declared: Declared, message: str) -> Problem:
    origin = declared.divergence.origin
    return Problem(origin.file, origin.line, origin.col, declared.problem.path.removesuffix(".when"), message)


# ---- quantities ----------------------------------------------------------------------------------------------------


def quantities_of(case: Case) -> set[str]:
    """The names of everything that is compared in a case."""
    op = OPS[case.op]
    names = {"output", "dtype", "shape", "memory_format", "input_modified", "state_dict"}
    if case.requires_grad:
        names.add("grad_input")
    try:
        names |= {f"grad.{name}" for name in op.parameters(case.args) if name not in op.frozen(case.args)}
        if case.optimizer is not None:
            names |= {f"param.{name}" for name in op.parameters(case.args)}
            names |= {f"momentum.{name}" for name in op.parameters(case.args) if case.optimizer.momentum}
        names |= {f"buffer.{name}" for name in op.buffers(case.args)}
        if op.nodes is not None:
            names |= set(quantities_of_modules(op.nodes(case.args)))
    except Exception:  # noqa: BLE001 - arguments that must raise have no parameters to name
        return names
    return names


def quantities_of_modules(nodes: Sequence[Node]) -> Iterator[str]:
    """What is compared of each module inside of a network: ``conv1 (Conv2d) grad.weight``."""
    for node in nodes:
        if node.op not in OPS:
            continue
        layer = OPS[node.op]
        yield from (f"{node.title} {name}" for name in ("input", "upstream gradient", "output", "grad_input"))
        yield from (f"{node.title} grad.{name}" for name in layer.parameters(node.args))
        yield from (f"{node.title} buffer.{name}" for name in layer.buffers(node.args))


def quantity_problems(expansions: Sequence[Expansion]) -> Iterator[Problem]:
    """Tolerances and divergences that name a quantity which no case of their file has."""
    for expansion in expansions:
        named = list(_named_quantities(expansion))
        if not named:
            continue
        known = set().union(*(quantities_of(case) for case, _ in expansion.drafted))
        for path, name in named:
            if not any(fnmatchcase(quantity, name) for quantity in known):
                hint = did_you_mean(name, known) or f"; they have {', '.join(sorted(known))}"
                yield expansion.document.problem(path, f"no case has a quantity '{name}'{hint}")


def _named_quantities(expansion: Expansion) -> Iterator[tuple[Path, str]]:
    places: dict[tuple[Path, str], None] = {}
    for _, layer in expansion.drafted:
        for setting, path in layer.paths.items():
            if setting.startswith("tolerance."):
                places[path, setting[10:]] = None
    yield from places
    for index, entry in enumerate(expansion.document.value.get("divergences", ())):
        for quantity in entry.get("size", {}):
            yield ("divergences", index, "size", quantity), quantity
        for place, quantity in enumerate(entry.get("quantities", ())):
            yield ("divergences", index, "quantities", place), quantity
