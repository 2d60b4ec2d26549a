"""From a torch module back to the op that it is, and to the constructor arguments that it was made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from conformance.observation import Unsupported
from conformance.ops import OPS


def op_of(module: torch.nn.Module) -> str | None:
    """The op that a module is judged as: the nearest of its classes that is the class of torch.nn of an op."""
    for kind in type(module).__mro__:
        name: str = kind.__name__
        if name in OPS and kind is getattr(torch.nn, name, None):
            return name
    return None


def arguments_of(module: torch.nn.Module) -> dict[str, Any]:
    """The constructor arguments of a module, complete, read from its attributes.

    Raises:
        Unsupported: the module is no op of ours, or lacks an attribute that its class would have.
    """
    op = op_of(module)
    if op is None:
        raise Unsupported(f"no reference for {type(module).__name__}")
    recover = _RECOVER.get(op, _by_attributes)
    return dict(recover(module, op))


def _by_attributes(module: torch.nn.Module, op: str) -> dict[str, Any]:
    """Most modules keep each argument under its own name, except ``bias``, which becomes a parameter or None."""
    found: dict[str, Any] = {}
    for argument in OPS[op].arguments:
        if not hasattr(module, argument.name):
            raise Unsupported(f"{type(module).__name__} has no attribute {argument.name!r}, which {op} keeps")
        value = getattr(module, argument.name)
        if argument.kinds == ("bool",):
            value = value is not None and value is not False
        found[argument.name] = list(value) if isinstance(value, tuple) else value
    return found


def _batch_norm(module: torch.nn.Module, op: str) -> dict[str, Any]:
    """In eval mode torch looks at the buffers, and not at the flag: running statistics are used where they exist."""
    found = _by_attributes(module, op)
    exists = getattr(module, "running_mean", None) is not None
    return found | {"track_running_stats": exists and (found["track_running_stats"] or not module.training)}


_RECOVER: Mapping[str, Callable[[torch.nn.Module, str], Mapping[str, Any]]] = {
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "BatchNorm3d": _batch_norm,
}
