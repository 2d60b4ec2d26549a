"""Who said what: each field of a case with the place that set it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import msgspec

from conformance.errors import UsageError
from conformance.ops import OPS
from conformance.suite.case import DESCRIPTIVE, Case, Origin, step_words
from conformance.suite.expand import Drafted, Expansion
from conformance.suite.loader import expand_file, load_suite
from conformance.suite.problems import Path, did_you_mean
from conformance.suite.suite import Suite


@dataclass(frozen=True, slots=True)
class Reason:
    """One field of a case: its value, who set it, and where; ``origin`` is None for what no file says."""

    field: str
    value: Any
    source: str
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A case and the reason of each of its fields, arguments first."""

    case: Case
    reasons: tuple[Reason, ...]


def explain_case(source: Suite | FilePath, name: str) -> Explanation:
    """Each field of the case with this id or key, its value, and the file and line that set it.

    Raises:
        UsageError: where no case has the name, or a rule skips it.
        CaseFileError: where the file has been broken in the meantime.
    """
    suite = source if isinstance(source, Suite) else load_suite([source])
    wanted = next((case.id for case in suite.cases if case.key == name), name)
    stem = wanted.partition("::")[0]
    for file in suite.files:
        if file.stem == stem:
            expansion = expand_file(file)
            for drafted in expansion.drafted:
                if drafted.case.id == wanted:
                    return Explanation(drafted.case, tuple(_reasons(expansion, drafted)))
    for skipped in suite.skipped:
        if skipped.id == wanted:
            raise UsageError(f"'{wanted}' is skipped: {skipped.reason}", hint=f"the rule stands at {skipped.origin}")
    names = [case.id for case in suite.cases]
    raise UsageError(f"no case is called '{name}'{did_you_mean(name, names)}")


def _reasons(expansion: Expansion, drafted: Drafted) -> list[Reason]:
    case, layer = drafted
    values: dict[str, Any] = {"op": case.op}
    values |= {f"args.{name}": value for name, value in case.args.items()}
    plain = (
        field
        for field in case.__struct_fields__
        if field not in (*DESCRIPTIVE, "op", "args", "tolerance", "export", "resets")
    )
    values |= {field: getattr(case, field) for field in plain}
    values["steps"] = tuple(step_words(case.steps, case.resets))
    values |= {f"export.{part}": value for part, value in msgspec.structs.asdict(case.export).items()}
    values |= {f"tolerance.{name}": _figures(each) for name, each in case.tolerance.items()}
    if case.marks:
        values["marks"] = case.marks
    reasons = []
    for field, value in values.items():
        path = layer.paths.get(field)
        if path is None:
            reasons.append(Reason(field, value, _unsaid(case, field), None))
        else:
            origin = expansion.document.origin(path)
            reasons.append(Reason(field, value, _source(expansion.document.value, path, case, field), origin))
    return reasons


def _figures(tolerance: msgspec.Struct) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(tolerance).items() if value is not None and value != ""
    }


def _unsaid(case: Case, field: str) -> str:
    if field.startswith("args."):
        usual = OPS[case.op].defaults()[field[5:]]
        same = isinstance(usual, bool) == isinstance(case.args[field[5:]], bool) and usual == case.args[field[5:]]
        return f"default of {case.op}" if same else "derived from the shape"
    if field == "param_dtype":
        return "follows dtype"
    if field == "requires_grad" and case.dtype == "int64":
        return "integers have no gradient"
    return "default"


def _source(file: Mapping[str, Any], path: Path, case: Case, field: str) -> str:
    section = path[0]
    if section == "defaults":
        source = "defaults"
    elif section == "cases":
        source = "the case itself"
    elif section == "groups" and isinstance(path[1], int):
        group = file["groups"][path[1]]["id"]
        kind = path[2] if len(path) > 2 else ""
        source = {"set": "set of group", "vary": "axis of group", "rules": "rule of group"}.get(str(kind), "group")
        source = f"{source} '{group}'"
    else:
        source = "the file"
    completed = field.startswith("args.") and _given(file, path) != case.args[field[5:]]
    return f"{source}, completed from the shape" if completed else source


def _given(file: Any, path: Path) -> Any:
    value = file
    for part in path:
        value = value[part]
    return value
