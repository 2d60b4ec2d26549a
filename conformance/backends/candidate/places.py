"""Where a module or an object keeps its tensors: parameters, buffers, plain attributes, entries of a dictionary."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from conformance.backends.candidate.names import Own, Role

_TORCH_OWN = frozenset(vars(torch.nn.Module()))


class Places:
    """The tensors of one candidate by dotted names."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def own(self) -> list[Own]:
        """Everything that may hold a parameter or a buffer, with its shape."""
        if isinstance(self._root, torch.nn.Module):
            return list(_of_module(self._root))
        return list(_of_object(self._root))

    def get(self, name: str) -> Any:
        """What is there now; a candidate may have put another tensor in its place."""
        home, last = self._home(name)
        return home[last] if isinstance(home, dict) else getattr(home, last)

    def put(self, name: str, value: Any) -> None:
        """Replace it."""
        home, last = self._home(name)
        if isinstance(home, dict):
            home[last] = value
        else:
            setattr(home, last, value)

    def _home(self, name: str) -> tuple[Any, str]:
        *path, last = name.split(".")
        home = self._root
        for part in path:
            home = home[part] if isinstance(home, dict) else getattr(home, part)
        return home, last


def _of_module(module: torch.nn.Module) -> Iterator[Own]:
    for name, parameter in module.named_parameters():
        yield _own(name, "parameter" if parameter.requires_grad else "buffer", parameter)
    for name, buffer in module.named_buffers():
        yield _own(name, "buffer", buffer)
    for prefix, inner in module.named_modules():
        for name, value in vars(inner).items():
            if name not in _TORCH_OWN and _may_hold(value):
                yield _own(f"{prefix}.{name}" if prefix else name, "attribute", value)


def _of_object(thing: Any) -> Iterator[Own]:
    for name, value in vars(thing).items() if hasattr(thing, "__dict__") else ():
        if _may_hold(value):
            yield _own(name, "attribute", value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(key, str) and _may_hold(inner):
                    yield _own(f"{name}.{key}", "attribute", inner)


def _may_hold(value: Any) -> bool:
    if isinstance(value, bool | str):
        return False
    return value is None or isinstance(value, torch.Tensor | np.ndarray | numbers.Number)


def _own(name: str, role: Role, value: Any) -> Own:
    if not isinstance(value, torch.Tensor | np.ndarray):
        return Own(name, role, None)
    size = value.numel() if isinstance(value, torch.Tensor) else value.size
    start = None
    if size:
        first = float(value.reshape(-1)[0])
        if bool((value == first).all()):
            start = first
    return Own(name, role, tuple(value.shape), start)
