"""What many tests need: a case written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.ops import OPS
from conformance.suite.case import Case, Origin

FIELDS = frozenset(Case.__struct_fields__)


def build(op: str, shape: tuple[int, ...], dtype: str = "float32", **given: object) -> Case:
    """A case whose fields are its keywords; every other keyword is an argument of the layer."""
    fields = {name: value for name, value in given.items() if name in FIELDS}
    arguments = {name: value for name, value in given.items() if name not in FIELDS}
    defaults = {
        "id": f"{op}::by-hand",
        "key": f"{op}-{shape}-{dtype}-{sorted(arguments.items())}",
        "args": OPS[op].complete(OPS[op].defaults() | arguments, shape),
        "param_dtype": dtype,
        "origin": Origin("by-hand.yaml", 1, 1),
    }
    return Case(**{**defaults, "op": op, "shape": shape, "dtype": dtype, **fields})


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    """Build a case: ``case_of("LayerNorm", (4, 8), "float32", data="scaled", eps=1e-3)``."""
    return build
