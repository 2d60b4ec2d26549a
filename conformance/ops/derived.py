"""Which arguments of an op only repeat sizes of the shape."""

from __future__ import annotations

from functools import cache

from conformance.ops import OPS


@cache
def derived_arguments(op: str) -> frozenset[str]:
    """The arguments that a case file may leave to the shape."""
    return frozenset(
        argument.name
        for argument in OPS[op].arguments
        if isinstance(argument.default, dict)
        or (argument.default is None and "int" in argument.kinds and "float" not in argument.kinds)
    )
