"""Candidates in one form: what the torch backend needs of a module, under the names of the op."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import torch

from conformance.backends.candidate.names import STARTS, Match, Wanted, match
from conformance.backends.candidate.places import Places
from conformance.backends.modules import StateMismatch
from conformance.backends.tensors import to_array, to_tensor
from conformance.inputs import Inputs
from conformance.observation import Array, Unsupported
from conformance.suite.case import Case, Mode


@dataclass(slots=True)
class Leaf:
    """A parameter as the observation needs it: its gradient, in the shape that the op gives it."""

    grad: torch.Tensor | None


class Layer(Protocol):
    """A layer under test."""

    observes: tuple[str, ...]

    def train(self, mode: bool) -> Layer: ...  # noqa: FBT001 - torch's signature
    def zero_grad(self, *, set_to_none: bool) -> None: ...
    def __call__(self, x: torch.Tensor) -> Any: ...
    def state_dict(self) -> Mapping[str, Any]: ...
    def named_parameters(self) -> Iterator[tuple[str, Leaf]]: ...
    def named_buffers(self) -> Iterator[tuple[str, torch.Tensor]]: ...
    def procedure(self, case: Case) -> Procedure: ...
    def remarks(self) -> list[str]:
        """What a person should know of how the candidate was used, in this case."""


class Procedure:
    """What a case does to a layer around its steps; this one is for layers to which nothing can be done."""

    def __init__(self, case: Case) -> None:
        if case.optimizer is not None or case.resets:
            what = "an optimizer updates" if case.optimizer is not None else "the case resets"
            raise Unsupported(f"{what} what a torch.nn.Module holds, and this candidate is none")

    def before(self, number: int) -> None:
        """What comes before the step of this number."""

    def after(self, mode: Mode) -> dict[str, Array]:  # noqa: ARG002 - nothing is done in either
        """What comes after a step, and what is observed of it."""
        return {}


def wanted_of(inputs: Inputs) -> list[Wanted]:
    """The parameters and buffers that the op has in this case."""

    def start(name: str) -> float | None:
        return STARTS.get(name.rpartition(".")[2])

    return [
        *(Wanted(name, "parameter", array.shape, start(name)) for name, array in inputs.params.items()),
        *(Wanted(name, "buffer", array.shape, start(name)) for name, array in inputs.buffers.items()),
    ]


def counts_only(array: Array) -> bool:
    """Whether a buffer is a mere count, such as num_batches_tracked, without which a layer can be right."""
    return array.dtype.kind in "iu" and array.shape == ()


class Held:
    """Parameters and buffers that a module or an object holds, read and written by the names of the op."""

    def __init__(self, root: Any, case: Case, inputs: Inputs, given: Mapping[str, str]) -> None:
        self.places = Places(root)
        own = self.places.own()
        self.matches, absent = match(wanted_of(inputs), own, given)
        lacking = [w for w in absent if w.name not in inputs.buffers or not counts_only(inputs.buffers[w.name])]
        if lacking:
            has = ", ".join(o.name for o in own) or "none"
            raise StateMismatch(f"no {lacking[0].role} {lacking[0].name!r} in this candidate (it has: {has})")
        self.uncounted = [w.name for w in absent]
        used = {m.own.name for m in self.matches}
        self.surplus = [o.name for o in own if o.role == "parameter" and o.name not in used]
        self._case = case

    def by_role(self, role: str) -> Iterator[Match]:
        return (m for m in self.matches if m.wanted.role == role)

    def remarks(self) -> list[str]:
        told = [str(m) for m in self.matches if str(m) != f"{m.wanted.name} = {m.own.name}"]
        told += [f"{name} is not kept, and is not compared" for name in self.uncounted]
        return told + [f"also has a parameter {name}, left as it was made" for name in self.surplus]


class ModuleLayer:
    """A torch.nn.Module whose tensors may have other names and other shapes than those of the op."""

    observes: tuple[str, ...] = ()

    def __init__(
        self, module: torch.nn.Module, case: Case, inputs: Inputs, given: Mapping[str, str], device: str = "cpu"
    ) -> None:
        self._module = module
        self._held = Held(module, case, inputs, given)
        for m in self._held.matches:
            array = inputs.params[m.wanted.name] if m.wanted.role == "parameter" else inputs.buffers[m.wanted.name]
            kept = case.params if m.wanted.role == "parameter" else case.buffers
            self._load(m, array, device, keep=kept == "default" and m.own.shape is not None)

    def _load(self, m: Match, array: Array, device: str, *, keep: bool) -> None:
        now, tensor = self._held.places.get(m.own.name), to_tensor(array, device)
        if m.own.role == "attribute":
            if keep:  # Module.to passes attributes by
                if isinstance(now, torch.Tensor) and now.is_floating_point():
                    self._held.places.put(m.own.name, now.to(dtype=tensor.dtype, device=device))
                return
            if isinstance(now, int):
                self._held.places.put(m.own.name, int(array))
                return
            shaped = tensor.reshape(m.own.shape if m.own.shape is not None else tensor.shape)
            self._held.places.put(m.own.name, shaped.requires_grad_(m.wanted.role == "parameter"))
            return
        if now.dtype != tensor.dtype:
            raise StateMismatch(f"{m.wanted.role} {m.own.name!r} is {now.dtype}, expected {tensor.dtype}")
        if not keep:
            with torch.no_grad():
                now.copy_(tensor.reshape(now.shape))

    def train(self, mode: bool) -> ModuleLayer:  # noqa: FBT001 - torch's signature
        self._module.train(mode)
        return self

    def zero_grad(self, *, set_to_none: bool) -> None:
        self._module.zero_grad(set_to_none=set_to_none)
        for m in self._held.by_role("parameter"):
            self._held.places.get(m.own.name).grad = None

    def __call__(self, x: torch.Tensor) -> Any:
        return self._module(x)

    def state_dict(self) -> Mapping[str, Any]:
        own = self._module.state_dict()
        return {m.wanted.name: own[m.own.name] for m in self._held.matches if m.own.name in own}

    def named_parameters(self) -> Iterator[tuple[str, Leaf]]:
        for m in self._held.by_role("parameter"):
            grad = self._held.places.get(m.own.name).grad
            yield m.wanted.name, Leaf(None if grad is None else in_shape(grad, m.wanted.shape))

    def named_buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        for m in self._held.by_role("buffer"):
            yield m.wanted.name, in_shape(self._held.places.get(m.own.name), m.wanted.shape)

    def procedure(self, case: Case) -> Procedure:
        return ModuleProcedure(self._module, self._held, case)

    def remarks(self) -> list[str]:
        return self._held.remarks()


class ModuleProcedure(Procedure):
    """Resets with the module's own method, and updates of its parameters by torch.optim.SGD."""

    def __init__(self, module: torch.nn.Module, held: Held, case: Case) -> None:
        self._module, self._held, self._resets = module, held, frozenset(case.resets)
        self._optimizer: torch.optim.SGD | None = None
        if case.optimizer is not None:
            self._optimizer = torch.optim.SGD(self._own().values(), **case.optimizer.arguments)

    def _own(self) -> dict[str, Any]:
        return {m.wanted.name: self._held.places.get(m.own.name) for m in self._held.by_role("parameter")}

    def before(self, number: int) -> None:
        """Let the module forget its running statistics where the case says so.

        Raises:
            Unsupported: it has no method to do it.
        """
        if number not in self._resets:
            return
        forgetful = [inner for inner in self._module.modules() if callable(getattr(inner, "reset_running_stats", None))]
        if not forgetful and any(m.own.role != "parameter" for m in self._held.matches):
            raise Unsupported(f"{type(self._module).__name__} has no method reset_running_stats(), which a reset calls")
        for inner in forgetful:
            inner.reset_running_stats()  # type: ignore[operator]  # callable, as was asked above

    def after(self, mode: Mode) -> dict[str, Array]:
        """The update after a train step; the parameters and their momentum buffers after any step."""
        if self._optimizer is None:
            return {}
        if mode == "train":
            self._optimizer.step()
        found = {}
        wanted = {m.wanted.name: m.wanted for m in self._held.by_role("parameter")}
        for name, parameter in self._own().items():
            found[f"param.{name}"] = to_array(in_shape(parameter.detach(), wanted[name].shape))
            buffer = self._optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                found[f"momentum.{name}"] = to_array(in_shape(buffer, wanted[name].shape))
        return found


def as_tensor(value: Any) -> torch.Tensor:
    """A tensor as it is, an array bit for bit, a number in the type that Python has for it."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, int):
        return torch.tensor(value, dtype=torch.int64)
    return to_tensor(np.asarray(value))


def native(tensor: torch.Tensor, library: str) -> Any:
    """The tensor itself, or an array over the same memory, strides and all."""
    return tensor if library == "torch" else tensor.detach().numpy()


def in_shape(value: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor in the op's shape where it has as many elements; else as it is, for the comparison to say."""
    tensor = as_tensor(value)
    return tensor.reshape(shape) if tensor.numel() == prod(shape) else tensor
