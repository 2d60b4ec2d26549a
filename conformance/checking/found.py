"""Writing a case as a case file that can be loaded again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from conformance.errors import UsageError
from conformance.ops import OPS
from conformance.ops.derived import derived_arguments
from conformance.suite.case import Case, step_words

_DEFAULTS = {
    "dtype": "float32", "layout": "contiguous", "grad_layout": "contiguous", "data": "normal", "params": "random",
    "buffers": "random", "seed": 0, "robustness": False,
}  # fmt: skip


def name_of(case: Case) -> str:
    """``batchnorm2d-7f3a``: short, and the same for the same case."""
    return f"{case.op.lower()}-{case.key[:6]}"


def case_text(case: Case, about: str) -> str:
    """The text of a case file with this one case; what has its default is left out."""
    lines = ["spec: 1", f"op: {case.op}", f"about: {json.dumps(about)}", "cases:", f"  - id: {name_of(case)}"]
    lines += [f"    {name}: {_flow(value)}" for name, value in fields_of(case)]
    return "\n".join(lines) + "\n"


def save(case: Case, about: str, folder: Path) -> Path:
    """Write the case into the folder.

    Raises:
        UsageError: it cannot be written there.
    """
    file = folder / f"{name_of(case)}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(case_text(case, about), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", hint="choose a folder with --save") from error
    return file


def fields_of(case: Case) -> Iterator[tuple[str, Any]]:
    """The fields of a case as a case file says them, less what needs no saying."""
    yield "shape", list(case.shape)
    for name, usual in _DEFAULTS.items():
        value = getattr(case, name)
        if value != usual:
            yield name, value
    if case.param_dtype != ("float32" if case.dtype == "int64" else case.dtype):
        yield "param_dtype", case.param_dtype
    if case.requires_grad != (case.dtype != "int64"):
        yield "requires_grad", case.requires_grad
    args = _arguments(case)
    if args:
        yield "args", args
    yield "steps", list(step_words(case.steps, case.resets))
    if case.optimizer is not None:
        yield "optimizer", msgspec.to_builtins(case.optimizer)
    if case.raises is not None:
        yield "raises", msgspec.to_builtins(case.raises)
    export = msgspec.to_builtins(case.export)
    if export:
        yield "export", export


def _arguments(case: Case) -> dict[str, Any]:
    """What the defaults and the shape do not give."""
    op = OPS[case.op]
    usual = op.defaults()
    odd = {name: value for name, value in case.args.items() if name not in derived_arguments(case.op)}
    odd = {name: value for name, value in odd.items() if value != usual[name]}
    try:
        completed = op.complete(usual | odd, case.shape)
    except Exception:  # noqa: BLE001 - the arguments do not follow from the shape: then all are written
        completed = {}
    return odd | {name: value for name, value in case.args.items() if completed.get(name) != value}


def _flow(value: Any) -> str:
    """YAML in one line; JSON is YAML, but for the look of it."""
    if isinstance(value, str):
        return value if value.replace("-", "").replace("_", "").isalnum() else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value)
