"""From flat settings to a case: ``{"shape": ..., "args.momentum": ..., "tolerance.output": ...}``.

Every layer of a file (defaults, a group's ``set``, an axis, a rule, an explicit case) becomes such a mapping, beside
one of where each setting stands, so that layers merge with ``|`` and every value of a case can say who set it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from conformance.ops import OPS, Argument
from conformance.suite import limits
from conformance.suite.arguments import normalised
from conformance.suite.case import Case, Export, Origin, Raises, Tolerance, step_words
from conformance.suite.identity import key_of
from conformance.suite.positions import Document
from conformance.suite.problems import Path
from conformance.suite.schedule import modes_and_resets, optimizer_of, schedule_misfit
from conformance.suite.schema import AXES
from conformance.suite.when import facts_of, flatten

Settings = dict[str, Any]

ABSENT: Any = object()
UNSAID: dict[str, Any] = {
    "dtype": "float32", "layout": "contiguous", "grad_layout": "contiguous", "data": "normal", "params": "random",
    "buffers": "random", "steps": ("train",), "optimizer": None, "seed": 0, "robustness": False, "raises": None,
    "export.dynamic": False, "export.opset": None, "export.optimisation": "all",
}  # fmt: skip
"""What holds where no layer says otherwise; param_dtype and requires_grad then follow the dtype."""


class Unfit(Exception):  # noqa: N818 - becomes a problem with a place
    """Settings that make no case."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings and where each stands in the document."""

    settings: Settings = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)

    def __or__(self, other: Layer) -> Layer:
        marks = (*self.settings.get("marks", ()), *other.settings.get("marks", ()))
        settings = self.settings | other.settings
        if marks:
            settings["marks"] = tuple(dict.fromkeys(marks))
        return Layer(settings, self.paths | other.paths)


def layer(document: Document, fields: Mapping[str, Any] | None, path: Path) -> Layer:
    """The fields that stand at ``path``, which the structs have accepted."""
    settings: Settings = {}
    paths: dict[str, Path] = {}
    for setting, value, where in _flat(document, fields or {}, path):
        settings[setting] = value
        paths[setting] = where
    return Layer(settings, paths)


def _flat(document: Document, fields: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Any, Path]]:
    for name, value in fields.items():
        here: Path = (*path, name)
        if name in ("args", "export"):
            for part, given in value.items():
                yield f"{name}.{part}", given, (*here, part)
        elif name == "tolerance":
            for quantity, figures in value.items():
                where: Path = (*here, quantity)
                yield f"tolerance.{quantity}", tolerance(document, figures, where), where
        elif name == "raises":
            yield name, None if value is None else Raises(value["type"], value["match"]), here
        elif name in AXES and name != "optimizer" and isinstance(value, dict):
            label, inner = next(iter(value.items()))
            yield name, inner, (*here, label)
        elif name != "id":
            yield name, tuple(value) if name == "marks" else value, here


def tolerance(document: Document, figures: Mapping[str, Any], path: Path) -> Tolerance:
    line, _ = document.mark(path, key=True)
    return Tolerance(**{name: float(value) for name, value in figures.items()}, origin=f"{document.file}:{line}")


@dataclass(frozen=True, slots=True)
class Completed:
    """A draft with everything filled in that follows from the rest; ``refused`` is what the op has against it."""

    op: str
    args: dict[str, Any]
    shape: tuple[int, ...]
    fields: dict[str, Any]
    facts: dict[str, int]
    refused: str = ""

    def context(self, name: str, group: str) -> dict[str, Any]:
        """What the rules of a group see."""
        fields = self.fields | {"op": self.op, "id": name, "group": group, "shape": list(self.shape)}
        fields["steps"] = step_words(fields["steps"], fields.pop("resets"))
        fields["raises"] = fields["raises"] is not None
        fields["optimizer"] = fields["optimizer"] is not None
        fields |= {f"export.{part}": value for part, value in msgspec.structs.asdict(fields.pop("export")).items()}
        return flatten(fields, self.args, self.facts)


_ARGUMENTS: dict[str, dict[str, Argument]] = {}


def arguments_of(op: str) -> dict[str, Argument]:
    """The arguments of an op by name."""
    if op not in _ARGUMENTS:
        _ARGUMENTS[op] = {argument.name: argument for argument in OPS[op].arguments}
    return _ARGUMENTS[op]


def complete(settings: Settings) -> Completed:
    """The draft, completed by its op.

    Raises:
        Unfit: where there is no shape.
    """
    if "shape" not in settings:
        raise Unfit("no shape; give one in defaults, set or vary")
    op, shape, fields = settings["op"], tuple(settings["shape"]), fields_of(settings)
    entry, arguments = OPS[op], arguments_of(op)
    args = normalised(arguments, {name: settings.get("args." + name, each.default) for name, each in arguments.items()})
    try:
        finished = entry.complete(args, shape)
        facts = entry.facts(finished, shape)
        entry.parameters(finished)
        entry.buffers(finished)
    except Exception as error:  # noqa: BLE001 - whatever an op has against arguments becomes a problem with a place
        reason = f"the arguments do not fit the shape {list(shape)}: {error or type(error).__name__}"
        return Completed(op, args, shape, fields, facts_of(op, args, shape), reason)
    if len(shape) not in entry.ranks:
        ranks = " or ".join(map(str, entry.ranks))
        return Completed(op, finished, shape, fields, facts, f"{op} takes inputs of rank {ranks}, not {list(shape)}")
    misfit = entry.misfit(finished, shape)
    return Completed(op, finished, shape, fields, facts, f"shape {list(shape)}: {misfit}" if misfit else "")


def fields_of(settings: Settings) -> dict[str, Any]:
    """The fields of a case other than its op, arguments and shape, with what follows from others filled in."""
    fields: dict[str, Any] = {name: settings.get(name, value) for name, value in UNSAID.items()}
    fields["param_dtype"] = settings.get("param_dtype") or unsaid("param_dtype", settings)
    fields["requires_grad"] = settings.get("requires_grad", unsaid("requires_grad", settings))
    fields["steps"], fields["resets"] = modes_and_resets(fields["steps"])
    fields["optimizer"] = optimizer_of(fields["optimizer"])
    fields["export"] = Export(**{part: fields.pop(f"export.{part}") for part in Export.__struct_fields__})
    tolerances = {name[10:]: value for name, value in settings.items() if name.startswith("tolerance.")}
    if tolerances:
        fields["tolerance"] = tolerances
    return fields


def usual(axis: str, base: Layer) -> Any:
    """The value that a case has where ``axis`` is not varied; None for what then follows the dtype of the case."""
    if axis in base.settings:
        return base.settings[axis]
    if axis.startswith("args."):
        return arguments_of(base.settings["op"])[axis[5:]].default
    return ABSENT if axis == "shape" else UNSAID.get(axis)


def unsaid(axis: str, settings: Settings) -> Any:
    """What param_dtype or requires_grad is where nothing says it."""
    dtype = settings.get("dtype", UNSAID["dtype"])
    if axis == "requires_grad":
        return dtype != "int64"
    return "float32" if dtype == "int64" else dtype


def build(
    settings: Settings, *, name: str, group: str, about: str, origin: Origin, done: Completed | None = None
) -> Case:
    """The case that the settings spell out.

    Raises:
        Unfit: where they spell out none.
    """
    done = done or complete(settings)
    fields = done.fields
    if done.refused and fields["raises"] is None:
        raise Unfit(f"{done.refused}; mend it, or say what the case raises")
    if not done.refused and (misfit := schedule_misfit(OPS[done.op], done.args, done.fields)) is not None:
        raise Unfit(misfit)
    elements = math.prod(done.shape) * len(fields["steps"])
    if elements > limits.ELEMENTS:
        raise Unfit(
            f"{elements:,} elements in {len(fields['steps'])} steps of {list(done.shape)}; "
            f"at most {limits.ELEMENTS:,} are allowed"
        )
    return Case(
        id=name,
        key=key_of(done.op, done.args, done.shape, fields),
        op=done.op,
        args=done.args,
        shape=done.shape,
        **fields,
        about=settings.get("about", about),
        group=group,
        marks=settings.get("marks", ()),
        origin=origin,
    )
