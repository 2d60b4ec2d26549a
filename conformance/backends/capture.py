"""Every call of every module inside a torch network, with what went in and what came out, forward and backward.

No backward hooks of modules are used: they put a function of their own around each module, which in-place modules and
views refuse.  Instead each call gets its input, and each of its parameters, under an alias (a view of all of it), and
hooks on the aliases see the gradients of this call alone, even where a module is called twice or shares a parameter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch.utils.hooks import RemovableHandle

from conformance.backends.module_arguments import arguments_of, op_of
from conformance.backends.tensors import to_array, to_tensor
from conformance.captured import Captured
from conformance.errors import UsageError
from conformance.observation import Array, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Mode


def capture(module: torch.nn.Module, x: Array, grad_output: Array, mode: Mode) -> tuple[Captured, ...]:
    """One forward and backward of a network; one entry per call of a module, in the order of the calls.

    Recorded are the modules that have no modules inside, and every op that we have a reference for.  A module that is
    never called has an entry as well, after the others.  The buffers move, and the gradients of the parameters are
    those of this backward pass, as after any step of training.

    x, grad_output: arrays shaped like the input and the output of the network.

    Raises:
        UsageError: the network does not return one tensor of the shape of grad_output.
    """
    recorder = Recorder(module)
    device = next((tensor.device for tensor in itertools.chain(module.parameters(), module.buffers())), "cpu")
    module.train(mode == "train")
    module.zero_grad(set_to_none=True)
    start = to_tensor(x, str(device))
    start.requires_grad_(start.is_floating_point())
    with recorder, torch.enable_grad():
        output = module(start.clone())  # a module may change its input in place, which a leaf would refuse
        recorder.listening = False
        upstream = to_tensor(grad_output, str(device))
        if not isinstance(output, torch.Tensor) or output.shape != upstream.shape:
            found = f"shape {list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
            raise UsageError(
                f"the network returned {found}, and the upstream gradient has shape {list(upstream.shape)}",
                hint="capture takes networks that return one tensor, and an upstream gradient of its shape",
            )
        if output.requires_grad:
            output.backward(upstream.to(output.dtype))  # type: ignore[no-untyped-call]  # torch does not type it
    return recorder.captured()


@dataclass(slots=True)
class _Call:
    """What is known of one call so far."""

    name: str
    module: torch.nn.Module
    number: int
    unjudged: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    mode: Mode = "eval"
    x: Array | None = None
    grad_output: Array | None = None
    params: dict[str, Array] = field(default_factory=dict)
    buffers: dict[str, Array] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    awaited: list[str] = field(default_factory=list)  # quantities that a gradient should reach
    output_has_gradient: bool = False
    version: int = 0  # of the input, which a change in place counts up
    in_place: bool = False
    before_change: Array | None = None  # gradient of the input as it was before a change in place


class Recorder:
    """Listens to a network while it is entered; leaves the modules as they were.

    names: of modules that are recorded whole, whatever is in them.  Set ``listening`` to False before the backward
    pass: checkpointed modules run again in it.
    """

    def __init__(self, network: torch.nn.Module, names: Collection[str] = ()) -> None:
        self.listening = True
        self._recorded = dict(_recorded(network, names))
        self._calls: list[_Call] = []
        self._open: list[tuple[_Call, dict[str, torch.nn.Parameter]]] = []
        self._counts: Counter[str] = Counter()
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, module in self._recorded.items():
            self._handles.append(module.register_forward_pre_hook(self._before(name), with_kwargs=True))
            # before any hook of the user's: what such a hook does is not the module's work
            self._handles.append(module.register_forward_hook(self._after, with_kwargs=True, prepend=True))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        for call, parameters in self._open:  # a module that raised
            _put(call.module, parameters)

    def captured(self) -> tuple[Captured, ...]:
        called = [_finished(call) for call in self._calls]
        silent = [
            Captured(name=name, kind=type(module).__name__, unjudged="it was never called")
            for name, module in self._recorded.items()
            if not self._counts[name]
        ]
        return (*called, *silent)

    def _before(self, name: str) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]] | None]:
        def hook(
            module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if not self.listening:
                return None
            call = _Call(name, module, self._counts[name], mode="train" if module.training else "eval")
            self._counts[name] += 1
            self._calls.append(call)
            given = [*args, *kwargs.values()]
            if len(given) != 1 or not isinstance(given[0], torch.Tensor):
                self._open.append((call, {}))
                call.unjudged = f"it was called with {_listed(given)}; references take one tensor"
                return None
            call.x = to_array(given[0])
            own = _describe(call)
            call.version = given[0]._version  # noqa: SLF001 - the only way to see a change in place
            if torch.is_grad_enabled() and given[0].requires_grad:
                # a change in place cuts the alias off; the tensor itself then keeps its hook, and has no other use
                _on_gradient(given[0], lambda gradient: _store_before_change(call, gradient))
            alias = _alias(call, "grad_input", given[0], "its input needs no gradient")
            self._open.append((call, own))
            _put(module, {key: _alias(call, f"grad.{key}", p, "the parameter is frozen") for key, p in own.items()})
            return ((alias,), {}) if args else ((), dict.fromkeys(kwargs, alias))

        return hook

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not self.listening:
            return
        call, own = self._open.pop()
        _put(module, own)
        given = [*args, *kwargs.values()]
        call.in_place = call.x is not None and given[0]._version != call.version  # noqa: SLF001 - as above
        if not isinstance(output, torch.Tensor):
            call.unjudged = call.unjudged or f"it returned {type(output).__name__}; references return one tensor"
            return
        call.arrays["output"] = to_array(output)
        call.arrays |= {f"buffer.{key}": to_array(getattr(module, key)) for key in call.buffers}
        call.output_has_gradient = torch.is_grad_enabled() and output.requires_grad
        if call.output_has_gradient:
            _on_gradient(output, lambda gradient: _store_upstream(call, gradient))


def _recorded(network: torch.nn.Module, names: Collection[str]) -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules to listen to: those named and known ops, with all that is in them, and those without insides."""
    inside: set[int] = set()
    for name, module in network.named_modules():
        if id(module) in inside:
            continue
        children = [child for child in module.modules() if child is not module]
        if name in names or op_of(module) is not None or not children:
            inside.update(id(child) for child in children)
            yield name, module


def _describe(call: _Call) -> dict[str, torch.nn.Parameter]:
    """Fill in arguments, parameters and buffers of a call; the parameters that are the module's own are returned."""
    module, op = call.module, op_of(call.module)
    if op is None:
        call.unjudged = f"no reference for {type(module).__name__}"
        return {}
    try:
        assert call.x is not None
        call.args = OPS[op].complete(arguments_of(module), call.x.shape)
    except Unsupported as reason:
        call.unjudged = str(reason)
        return {}
    wanted = {"parameter": OPS[op].parameters(call.args), "buffer": OPS[op].buffers(call.args)}
    for kind, values in (("parameter", call.params), ("buffer", call.buffers)):
        for name in wanted[kind]:
            tensor = getattr(module, name, None)
            if not isinstance(tensor, torch.Tensor):
                call.unjudged = f"it has no {kind} {name!r}, which {op} with its arguments has"
                return {}
            values[name] = to_array(tensor)
    # computed parameters (torch.nn.utils.parametrize) are none of the module's own
    own = {name: p for name in call.params if (p := module._parameters.get(name)) is not None}  # noqa: SLF001 - to swap
    call.absent |= {f"grad.{name}": "it is computed from other parameters" for name in call.params if name not in own}
    return own


def _put(module: torch.nn.Module, tensors: dict[str, Any]) -> None:
    """Put tensors in the places of parameters, as torch.func.functional_call does; setattr refuses such tensors."""
    module._parameters.update(tensors)  # noqa: SLF001 - no public way that accepts a plain tensor


def _alias(call: _Call, quantity: str, tensor: torch.Tensor, why_not: str) -> torch.Tensor:
    """The same tensor as an object of its own, whose gradient is that of this use alone."""
    alias = tensor[...]
    if torch.is_grad_enabled() and alias.requires_grad:  # a view that is made without gradients says that it has one
        call.awaited.append(quantity)
        _on_gradient(alias, lambda gradient: _store(call, quantity, gradient))
    else:
        call.absent[quantity] = "gradients were switched off" if not torch.is_grad_enabled() else why_not
    return alias


def _on_gradient(tensor: torch.Tensor, store: Callable[[torch.Tensor], None]) -> None:
    """Hand the gradient of a tensor to ``store``, summed over all uses; a change of the tensor in place comes after."""
    tensor.register_hook(store)  # type: ignore[no-untyped-call]  # torch does not type it


def _store(call: _Call, quantity: str, gradient: torch.Tensor) -> None:
    call.arrays[quantity] = to_array(gradient)


def _store_upstream(call: _Call, gradient: torch.Tensor) -> None:
    call.grad_output = to_array(gradient)


def _store_before_change(call: _Call, gradient: torch.Tensor) -> None:
    call.before_change = to_array(gradient)


def _finished(call: _Call) -> Captured:
    op = op_of(call.module)
    absent = dict(call.absent)
    if call.in_place and call.before_change is not None:
        call.arrays.setdefault("grad_input", call.before_change)
    if call.grad_output is None and call.output_has_gradient:
        # where the output itself is cut off from its inputs nothing is excused: the gradients are missing
        absent |= dict.fromkeys(call.awaited, "no gradient reached its output")
    return Captured(
        name=call.name,
        kind=type(call.module).__name__,
        reference=OPS[op].reference if op is not None and not call.unjudged else "",
        args=call.args,
        mode=call.mode,
        call=call.number,
        x=call.x,
        grad_output=call.grad_output,
        params=call.params,
        buffers=call.buffers,
        arrays=call.arrays,
        absent=absent,
        unjudged=call.unjudged,
    )


def _listed(given: list[Any]) -> str:
    return " and ".join(type(value).__name__ for value in given) or "nothing"
