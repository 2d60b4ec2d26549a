"""Functions, and torch.autograd.Functions, as layers: parameters and buffers are handed in, new buffers come back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from conformance.backends.candidate.gradients import gradients
from conformance.backends.candidate.kinds import Library, signature_of
from conformance.backends.candidate.layers import Leaf, Procedure, as_tensor, counts_only, in_shape, native
from conformance.backends.candidate.names import CALLED
from conformance.backends.candidate.owned import FORWARD, TRAINING, through_own_backward
from conformance.backends.candidate.resolve import LOADED
from conformance.backends.candidate.signature import arguments_for
from conformance.backends.tensors import to_tensor
from conformance.errors import UsageError
from conformance.inputs import Inputs
from conformance.ops import OPS
from conformance.suite.case import Case

#: arguments that say which parameters and buffers there are; a function sees that from what it is handed
_SEEN = (
    "affine", "elementwise_affine", "bias", "track_running_stats", "num_features", "num_channels", "in_features",
    "out_features", "in_channels", "out_channels",
)  # fmt: skip
_SEEN_OF_WEIGHT = ("kernel_size",)


class FunctionLayer:
    """A function of the input, the parameters and the buffers."""

    def __init__(
        self,
        function: Callable[..., Any],
        library: Library,
        case: Case,
        inputs: Inputs,
        *,
        device: str = "cpu",
        apply: bool = False,
        backward: Callable[..., Any] | None = None,
        given: Mapping[str, str] | None = None,
    ) -> None:
        """``apply``: the function is the ``forward`` of a torch.autograd.Function, of whose ``apply`` it is a part."""
        self._library = library
        self._inputs = inputs
        self._backward = backward if backward is not None else getattr(function, "backward", None)
        self._parameters = {
            name: to_tensor(array, device).requires_grad_(library == "torch" and self._backward is None)
            for name, array in inputs.params.items()
        }
        self._buffers = {name: to_tensor(array, device) for name, array in inputs.buffers.items()}
        self._uncounted: set[str] = set()
        self._training = True
        self._grads: dict[str, torch.Tensor] = {}
        self._call = Call(function, case, inputs, apply=apply, given=given or {})
        self.observes: tuple[str, ...] = () if library == "torch" or self._backward else FORWARD

    def use(self, apply: Callable[..., Any]) -> None:
        """Call this in the place of the function whose signature was read."""
        self._call.use(apply)

    def train(self, mode: bool) -> FunctionLayer:  # noqa: FBT001 - torch's signature
        self._training = mode
        return self

    def zero_grad(self, *, set_to_none: bool) -> None:
        del set_to_none  # there is one way
        self._grads = {}
        for parameter in self._parameters.values():
            parameter.grad = None

    def __call__(self, x: torch.Tensor) -> Any:
        if self._backward is not None:
            return through_own_backward(x, self)
        return self.forward_native(x)

    def forward_native(self, x: torch.Tensor) -> Any:
        """The function, on what it is written for; buffers may be changed in place, replaced, or returned."""
        before = {name: buffer.clone() for name, buffer in self._buffers.items()}
        params = {name: native(parameter, self._library) for name, parameter in self._parameters.items()}
        buffers = {name: native(buffer, self._library) for name, buffer in self._buffers.items()}
        self._state = params, {name: native(before[name], self._library) for name in buffers}
        self._x = native(x, self._library)
        returned = self._call(native(x, self._library), params, buffers, training=self._training)
        output, returned_buffers = _parted(returned)
        if returned_buffers is not None:
            buffers |= {self._call.ours(name): value for name, value in returned_buffers.items()}
        self._buffers = {name: as_tensor(value).detach() for name, value in buffers.items() if name in before}
        for name, array in self._inputs.buffers.items():
            if self._training and counts_only(array) and torch.equal(self._buffers[name], before[name]):
                self._uncounted.add(name)
        return as_tensor(output) if isinstance(output, np.ndarray | np.generic) else output

    def backward_native(self, grad_output: torch.Tensor) -> torch.Tensor | None:
        """The gradient that belongs to a function on arrays."""
        assert self._backward is not None
        params, buffers = self._state
        told = self._call.arguments | {"training": self._training}
        returned = self._backward(native(grad_output, self._library), self._x, params, buffers, **told)
        of_input, of_parameters = gradients(returned, list(params), {}, None)
        self._grads = {name: in_shape(value, self._inputs.params[name].shape) for name, value in of_parameters.items()}
        return None if of_input is None else as_tensor(of_input)

    def state_dict(self) -> Mapping[str, Any]:
        return {**self._parameters, **self._buffers}

    def named_parameters(self) -> Iterator[tuple[str, Leaf]]:
        for name, parameter in self._parameters.items():
            yield name, Leaf(parameter.grad if self._backward is None else self._grads.get(name))

    def named_buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from ((name, buffer) for name, buffer in self._buffers.items() if name not in self._uncounted)

    def procedure(self, case: Case) -> Procedure:
        return Procedure(case)

    def remarks(self) -> list[str]:
        return [*self._call.remarks, *(f"{name} is not counted, and is not compared" for name in self._uncounted)]


class Call:
    """How a function is called: with dictionaries of parameters and buffers, or with each under its own name."""

    def __init__(
        self, function: Callable[..., Any], case: Case, inputs: Inputs, *, apply: bool, given: Mapping[str, str]
    ) -> None:
        self._function = function
        self._ours = dict(given)  # own names to the op's
        self.remarks: list[str] = []
        parameters = (signature_of(function) or [])[1 if apply else 0 :]  # less ctx
        if not parameters:
            raise UsageError(
                f"{function.__name__} takes no input", hint="write it as f(x, params, buffers, *, training, **args)"
            )
        self._positional = apply
        names = [parameter.name for parameter in parameters]
        self._dictionaries = not apply and ("params" in names or "buffers" in names or len(parameters) == 1)
        self._parameters = parameters
        self._inputs = inputs
        tensors: list[str] = [] if self._dictionaries else [n for n in names[1:] if self._tensor(n, case)]
        flags = [name for name in TRAINING if name in names]
        besides = [names[0], "params", "buffers", *tensors, *flags]
        _refuse_strangers(function, parameters, [*besides, *case.args], case)
        seen = (*_SEEN, *(_SEEN_OF_WEIGHT if "weight" in inputs.params else ()))
        matters = {
            name: value
            for name, value in case.args.items()
            if name not in tensors and (name in names or self._any_keyword or name not in seen)
        }
        self.arguments = arguments_for(_Signature(function, parameters), matters, case, besides)
        self._tensors, self._flags = tensors, flags

    def use(self, apply: Callable[..., Any]) -> None:
        """Call this instead; its parameters are those that were read."""
        self._function = apply

    @property
    def _any_keyword(self) -> bool:
        return any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._parameters)

    def ours(self, name: str) -> str:
        """The op's name of a tensor."""
        return self._ours.get(name, name)

    def _tensor(self, name: str, case: Case) -> bool:
        """Whether a parameter of the function takes one of the op's tensors, by its name or by one in common use."""
        known = _all_tensors(case)
        if name in self._ours or name in known:
            return True
        if name in case.args:
            return False
        plain = name.lower().strip("_")
        found = [ours for ours in known if plain in CALLED.get(ours.rpartition(".")[2], ())]
        if len(found) == 1:
            self._ours[name] = found[0]
            self.remarks.append(f"{found[0]} = {name} (known name)")
        return len(found) == 1

    def __call__(self, x: Any, params: dict[str, Any], buffers: dict[str, Any], *, training: bool) -> Any:
        told = dict.fromkeys(self._flags, training)
        if self._dictionaries:
            if "training" not in told and self._any_keyword:
                told["training"] = training
            handed = [part for name, part in (("params", params), ("buffers", buffers)) if self._hands(name)]
            return self._function(x, *handed, **told, **self.arguments)
        tensors = {**params, **buffers}
        told |= self.arguments | {name: tensors.get(self.ours(name)) for name in self._tensors}
        if not self._positional:
            return self._function(x, **told)
        return self._function(x, *(told.get(p.name, p.default) for p in self._parameters[1:]))

    def _hands(self, name: str) -> bool:
        return any(parameter.name == name for parameter in self._parameters)


def _refuse_strangers(
    function: Callable[..., Any], parameters: list[inspect.Parameter], known: list[str], case: Case
) -> None:
    """That everything that a function requires is known.

    Raises:
        UsageError: with the adapter to write.
    """
    strange = [
        p.name
        for p in parameters
        if p.name not in known and p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if not strange:
        return
    title, home = str(getattr(function, "__name__", "f")), str(getattr(function, "__module__", "mymodule"))
    home = LOADED.get(home, home)
    handed = [
        f"{p.name}={_handed(p.name, case, strange)}" for p in parameters[1:] if p.name in known or p.name in strange
    ]
    raise UsageError(
        f"{title} requires {', '.join(map(repr, strange))}, which {case.op} does not have under that name",
        hint=(
            "write an adapter, and check that instead:\n\n"
            f"# adapter.py\nfrom {home} import {title}\n\n\n"
            "def adapter(x, params, buffers, *, training, **args):\n"
            f"    # params: {', '.join(_all_tensors(case)) or 'none'}; args: {', '.join(case.args)}\n"
            f"    return {title}(x, {', '.join(handed)})\n\n"
            f"# conformance check adapter.py:adapter --like {case.op}\n"
        ),
    )


def _handed(name: str, case: Case, strange: list[str]) -> str:
    if name in strange:
        return "..."
    if name in case.args:
        return f'args["{name}"]'
    if name in TRAINING:
        return "training"
    if name in ("params", "buffers"):
        return name
    return f'{{**params, **buffers}}.get("{name}")'


def _all_tensors(case: Case) -> list[str]:
    """Every parameter and buffer that the op can have, with whatever arguments."""
    op = OPS[case.op]
    flags = {argument.name: True for argument in op.arguments if argument.kinds == ("bool",)}
    full = {**case.args, **flags}
    return list(dict.fromkeys([*op.parameters(full), *op.buffers(full)]))


class _Signature:
    """A callable whose parameters have been chosen."""

    def __init__(self, function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
        self.__name__ = str(getattr(function, "__name__", "function"))
        self.__module__ = str(getattr(function, "__module__", ""))
        self.__signature__ = inspect.Signature(parameters)

    def __call__(self) -> None:  # so that inspect takes it for a callable
        raise NotImplementedError


def _parted(returned: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """The output, and the new buffers where they came too."""
    if isinstance(returned, tuple) and returned:
        rest = returned[1] if len(returned) == 2 and isinstance(returned[1], Mapping) else None
        return returned[0], rest
    return returned, None
