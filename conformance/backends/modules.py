"""From a case to a torch module with the parameters and buffers of its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch

from conformance.backends.tensors import dtype_of, to_tensor
from conformance.inputs import Inputs
from conformance.observation import Array, Unsupported
from conformance.ops import OPS
from conformance.ops.networks import layer_dtype
from conformance.suite.case import Case

Factory = Callable[..., torch.nn.Module]


class StateMismatch(Exception):  # noqa: N818 - shown as the observed exception of a module under test
    """The module's parameters or buffers are not those that the op has."""


def factory_of(op: str) -> Factory:
    """The class of torch.nn with the op's name, or the one that the op's entry names.

    Raises:
        Unsupported: this torch has none.
    """
    if op in OPS and OPS[op].module:
        home, _, name = OPS[op].module.partition(":")
        ours: Factory = getattr(import_module(home), name)
        return ours
    found = getattr(torch.nn, op, None)
    if found is None:
        raise Unsupported(f"torch {torch.__version__} has no torch.nn.{op}")
    made: Factory = found
    return made


def arguments(case: Case, factory: Factory) -> dict[str, Any]:
    """The case's arguments as this factory takes them.

    An argument that the factory does not know is dropped when it has the op's default value, which then changes nothing
    (``bias`` of BatchNorm2d is younger than BatchNorm2d).

    Raises:
        Unsupported: the factory lacks an argument that matters.
    """
    known = _signature(factory)
    if known is None:
        return dict(case.args)
    defaults = OPS[case.op].defaults() if case.op in OPS else {}
    kept = {}
    for name, value in case.args.items():
        if name in known:
            kept[name] = value
        elif name not in defaults or value != defaults[name]:
            title = getattr(factory, "__name__", repr(factory))
            raise Unsupported(f"{title} takes no argument {name!r}, and the case needs {name}={value!r}")
    return kept


def _signature(factory: Factory) -> frozenset[str] | None:
    """The names of the arguments, or None where any name is taken (or nothing can be known)."""
    try:
        return _known_signature(factory)
    except TypeError:  # an object that cannot be hashed
        return _read_signature(factory)


def _read_signature(factory: Factory) -> frozenset[str] | None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


_known_signature = lru_cache(maxsize=256)(_read_signature)  # reading one takes longer than building a small layer


def build(case: Case, factory: Factory | None = None, device: str = "cpu") -> torch.nn.Module:
    """The module as its constructor leaves it, in ``param_dtype`` and on the device.

    Without a factory it is the class of torch.nn with the op's name.  Raises whatever the constructor raises.
    """
    make = factory if factory is not None else factory_of(case.op)
    module = make(**arguments(case, make))
    if case.param_dtype == "int64":  # modules refuse to be converted to integers
        return module.to(device=device)
    nodes = OPS[case.op].nodes if case.op in OPS else None
    if nodes is None:
        dtype = dtype_of(case.param_dtype)
        return module if _is_on(module, torch.device(device), dtype) else module.to(device=device, dtype=dtype)
    module.to(device=device, dtype=dtype_of(case.dtype))
    for node in nodes(case.args):
        own = layer_dtype(node.op, case.dtype, case.param_dtype)
        if node.op in OPS and own != case.dtype and node.name in dict(module.named_modules()):
            module.get_submodule(node.name).to(dtype=dtype_of(own))
    return module


def _is_on(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether moving the module would change nothing; asking is several times as fast as moving."""
    return all(
        tensor.device == device and (tensor.dtype == dtype or not tensor.is_floating_point())
        for tensor in (*module.parameters(), *module.buffers())
    )


def load_state(module: torch.nn.Module, case: Case, inputs: Inputs) -> None:
    """Put the parameters and buffers of the inputs into the module, bit for bit.

    Where the case asks for the defaults, those that the constructor made stay, so that they are tested too.

    Raises:
        StateMismatch: a parameter or buffer is missing, is one too many, or has another shape or dtype.
    """
    parameters = dict(module.named_parameters())
    buffers = dict(module.named_buffers())
    unknown = sorted(set(parameters) - set(inputs.params))
    if unknown:
        raise StateMismatch(f"{case.op} with these arguments has no parameter {', '.join(unknown)}, this module does")
    entry = OPS.get(case.op)  # of these the constructor draws the weights
    drawn = entry is not None and (entry.nodes is not None or entry.family in ("linear", "convolution"))
    _load("parameter", parameters, inputs.params, keep=case.params == "default" and not drawn)
    _load("buffer", buffers, inputs.buffers, keep=case.buffers == "default")


def _load(kind: str, own: Mapping[str, torch.Tensor], given: Mapping[str, Array], *, keep: bool) -> None:
    for name, array in given.items():
        if name not in own:
            has = ", ".join(own) or "none"
            raise StateMismatch(f"no {kind} {name!r} in this module (it has: {has})")
        tensor, wanted = own[name], to_tensor(array)
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            found, expected = (f"{t.dtype} of shape {tuple(t.shape)}" for t in (tensor, wanted))
            raise StateMismatch(f"{kind} {name!r} is {found}, expected {expected}")
        if not keep:
            with torch.no_grad():
                tensor.copy_(wanted)
