"""The names of a case: an id for people, a key for stored results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from conformance.ops import OPS
from conformance.suite.by_identity import by_identity
from conformance.suite.case import DESCRIPTIVE, Case, Export, Optimizer, Raises, Tolerance

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode

CONTENT: dict[str, Any] = {
    "param_dtype": "", "dtype": "", "layout": "contiguous", "grad_layout": "contiguous", "requires_grad": True,
    "data": "normal", "params": "random", "buffers": "random", "steps": ("train",), "seed": 0, "robustness": False,
    "raises": None, "tolerance": {}, "export": Export(), "resets": (), "optimizer": None,
}  # fmt: skip
"""The fields, beside op, args and shape, that make a case what it is, and the value that is left unsaid."""


_FIELDS = ("key", *(field for field in Case.__struct_fields__ if field not in DESCRIPTIVE))
_SPELLER = msgspec.msgpack.Encoder(order="deterministic")


def case_id(stem: str, name: str, labels: Sequence[str] = ()) -> str:
    """``batch_norm::semantics[average,e]``; without labels, ``batch_norm::semantics``."""
    return f"{stem}::{name}[{','.join(labels)}]" if labels else f"{stem}::{name}"


def key_of(op: str, args: Mapping[str, Any], shape: Sequence[int], fields: Mapping[str, Any]) -> str:
    """The first 12 hex digits of the SHA-256 of the normalised case.

    What equals its default is left out, so that a new field, or a new argument of an op, leaves old keys as they are.
    """
    usual = _defaults(op)
    content: dict[str, Any] = {
        "op": op,
        "args": {name: value for name, value in args.items() if name not in usual or not _same(value, usual[name])},
        "shape": list(shape),
    }
    for name, unsaid in CONTENT.items():
        value = fields.get(name, unsaid)
        if value != unsaid:
            content[name] = _plain(value)
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:12]


def key_of_case(case: Case) -> str:
    """The key that a case ought to have; for cases that are built by hand."""
    return key_of(case.op, case.args, case.shape, {name: getattr(case, name) for name in CONTENT})


@by_identity
def spelled(case: Case) -> bytes:
    """Everything that a case says but for what only describes it: what to keep things under that follow from it.

    The key of a case is short, and one that is built by hand may bear any.
    """
    return _SPELLER.encode([getattr(case, field) for field in _FIELDS])


def digest_of(keys: Iterable[str]) -> str:
    """One name for a set of cases, whatever their order."""
    return hashlib.sha256(",".join(sorted(keys)).encode()).hexdigest()[:16]


_DEFAULTS: dict[str, dict[str, Any]] = {}


def _defaults(op: str) -> dict[str, Any]:
    if op not in _DEFAULTS:
        _DEFAULTS[op] = OPS[op].defaults()
    return _DEFAULTS[op]


def _same(value: Any, usual: Any) -> bool:
    return isinstance(value, bool) == isinstance(usual, bool) and bool(value == usual)


def _plain(value: Any) -> Any:
    if isinstance(value, Raises):
        return [value.type, value.match]
    if isinstance(value, Export):
        return msgspec.to_builtins(value)  # what is not the default
    if isinstance(value, Optimizer):
        usual = msgspec.structs.asdict(Optimizer(lr=0.0))  # a computed 0.0 is not omitted as the default is
        return {name: each for name, each in msgspec.structs.asdict(value).items() if each != usual[name]}
    if isinstance(value, dict):  # tolerances; where they stand does not matter
        return {quantity: _figures(tolerance) for quantity, tolerance in value.items()}
    return value


def _figures(tolerance: Tolerance) -> dict[str, float]:
    figures = msgspec.structs.asdict(tolerance)
    return {name: float(figures[name]) for name in ("rtol", "atol", "ulp", "budget") if figures[name] is not None}
