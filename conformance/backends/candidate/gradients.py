"""The gradients that an object's own backward hands back, whatever the form, under the names of the op."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_OF_INPUT = ("x", "input", "dx", "grad_input", "grad_x", "dinput", "input_grad", "d_x", "dX")


def gradients(returned: Any, wanted: Sequence[str], own: Mapping[str, str], holder: Any) -> tuple[Any, dict[str, Any]]:
    """The gradient of the input, and those of the parameters that were found.

    returned: the gradient of the input; or a tuple of it and those of the parameters, in the op's order; or a mapping.
    wanted: the op's names of the parameters.  own: the candidate's names of them.
    holder: where gradients may lie as attributes (``dgamma``, ``grad_gamma``) or in ``grads``.
    """
    found: dict[str, Any] = {}
    if isinstance(returned, Mapping):
        of_input = next((returned[name] for name in _OF_INPUT if name in returned), None)
        found = {name: value for name in wanted if (value := _first(returned, name, own)) is not None}
    elif isinstance(returned, tuple | list):
        of_input, rest = (returned[0], returned[1:]) if returned else (None, ())
        if len(rest) == 1 and isinstance(rest[0], Mapping):
            found = {name: value for name in wanted if (value := _first(rest[0], name, own)) is not None}
        else:
            found = dict(zip(wanted, rest, strict=False))
    else:
        of_input = returned
    for name in wanted:
        if found.get(name) is None and (value := _held(holder, name, own)) is not None:
            found[name] = value
    return of_input, {name: value for name, value in found.items() if value is not None}


def spellings(name: str, own: Mapping[str, str]) -> Iterator[str]:
    """How a gradient of this parameter may be called."""
    for called in dict.fromkeys((own.get(name, name).rpartition(".")[2], name)):
        yield from (f"grad_{called}", f"d{called}", f"{called}_grad", f"d_{called}", f"g{called}")


def _first(mapping: Mapping[str, Any], name: str, own: Mapping[str, str]) -> Any:
    spelled = (own.get(name, name), name, *spellings(name, own))
    return next((mapping[each] for each in spelled if each in mapping), None)


def _held(holder: Any, name: str, own: Mapping[str, str]) -> Any:
    for home in ("grads", "grad", "gradients"):
        inside = getattr(holder, home, None)
        if isinstance(inside, Mapping) and (value := _first(inside, name, own)) is not None:
            return value
    return next((value for each in spellings(name, own) if (value := getattr(holder, each, None)) is not None), None)
