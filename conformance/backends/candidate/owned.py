"""Objects with forward and, perhaps, a backward of their own, on tensors or on NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from conformance.backends.candidate.gradients import gradients, spellings
from conformance.backends.candidate.kinds import Library, signature_of
from conformance.backends.candidate.layers import Held, Leaf, Procedure, as_tensor, in_shape, native
from conformance.backends.tensors import to_tensor
from conformance.inputs import Inputs
from conformance.observation import Array
from conformance.suite.case import Case

FORWARD = ("output", "buffer")
TRAINING = ("training", "train", "is_training")


class OwnBackward(torch.autograd.Function):
    """Carries a layer's own forward and backward into autograd, where every candidate is judged alike."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, anchor: torch.Tensor, layer: Any) -> Any:  # noqa: ARG004 - it has a gradient
        ctx.layer = layer
        return layer.forward_native(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        of_input = ctx.layer.backward_native(grad_outputs[0])
        return (of_input if ctx.needs_input_grad[0] else None), None, None


def through_own_backward(x: torch.Tensor, layer: Any) -> Any:
    """The output, whose gradient is what the layer's own backward says."""
    return OwnBackward.apply(x, torch.zeros((), requires_grad=True), layer)  # type: ignore[no-untyped-call]  # torch does not type it


class ObjectLayer:
    """An object with forward; where it has no backward and works on arrays, its gradients are not looked at."""

    def __init__(
        self,
        thing: Any,
        library: Library,
        case: Case,
        inputs: Inputs,
        given: Mapping[str, str],
        device: str = "cpu",
    ) -> None:
        self._thing = thing
        self._device = device
        self._library = library
        self._held = Held(thing, case, inputs, given)
        self._inputs = inputs
        self._training = True
        self._grads: dict[str, torch.Tensor] = {}
        self._sought: list[str] = []
        self._forward = thing.forward if callable(getattr(thing, "forward", None)) else thing
        self._own_backward = callable(getattr(thing, "backward", None))
        self.observes: tuple[str, ...] = () if self._own_backward or library == "torch" else FORWARD
        for m in self._held.matches:
            array = inputs.params[m.wanted.name] if m.wanted.role == "parameter" else inputs.buffers[m.wanted.name]
            kept = case.params if m.wanted.role == "parameter" else case.buffers
            if kept == "default" and m.own.shape is not None:
                own = self._held.places.get(m.own.name)
                array = (own.detach().cpu().numpy() if isinstance(own, torch.Tensor) else own).astype(array.dtype)
            self._held.places.put(m.own.name, self._stored(array, m))

    def _stored(self, array: Array, m: Any) -> Any:
        if isinstance(self._held.places.get(m.own.name), int) and array.shape == ():
            return int(array)
        shaped = array.reshape(m.own.shape if m.own.shape is not None else array.shape).copy()
        if self._library == "numpy":
            return shaped
        return to_tensor(shaped, self._device).requires_grad_(m.wanted.role == "parameter" and not self._own_backward)

    def train(self, mode: bool) -> ObjectLayer:  # noqa: FBT001 - torch's signature
        self._training = mode
        method = getattr(self._thing, "train" if mode else "eval", None)
        if callable(method):
            method()
        elif not callable(getattr(self._thing, "training", None)):
            try:
                self._thing.training = mode
            except AttributeError:  # slots, or a property: then forward is told, or it does not care
                return self
        return self

    def zero_grad(self, *, set_to_none: bool) -> None:
        del set_to_none  # there is one way
        self._grads = {}
        for m in self._held.by_role("parameter"):
            value = self._held.places.get(m.own.name)
            if isinstance(value, torch.Tensor):
                value.grad = None

    def __call__(self, x: torch.Tensor) -> Any:
        if self._own_backward:
            return through_own_backward(x, self)
        return self.forward_native(x)

    def forward_native(self, x: torch.Tensor) -> Any:
        """The candidate's forward, on what it is written for."""
        told: dict[str, Any] = dict.fromkeys(self._takes(TRAINING), self._training)
        if self._takes(("mode",)):
            told["mode"] = "train" if self._training else "eval"
        return _output(self._forward(native(x, self._library), **told))

    def _takes(self, names: tuple[str, ...]) -> list[str]:
        taken = {parameter.name for parameter in signature_of(self._forward) or []}
        return [name for name in names if name in taken]

    def backward_native(self, grad_output: torch.Tensor) -> torch.Tensor | None:
        """The candidate's backward; the gradients of the parameters are kept for the observation."""
        returned = self._thing.backward(native(grad_output, self._library))
        wanted = [m.wanted.name for m in self._held.by_role("parameter")]
        own = {m.wanted.name: m.own.name for m in self._held.by_role("parameter")}
        of_input, of_parameters = gradients(returned, wanted, own, self._thing)
        self._grads = {name: in_shape(value, self._inputs.params[name].shape) for name, value in of_parameters.items()}
        self._sought = [s for name in wanted if name not in self._grads for s in (name, *spellings(name, own))]
        return None if of_input is None else as_tensor(of_input)

    def state_dict(self) -> Mapping[str, Any]:
        return {m.wanted.name: None for m in self._held.matches}

    def named_parameters(self) -> Iterator[tuple[str, Leaf]]:
        for m in self._held.by_role("parameter"):
            name = m.wanted.name
            if self._own_backward:
                yield name, Leaf(self._grads.get(name))
            elif self._library == "torch":
                grad = self._held.places.get(m.own.name).grad
                yield name, Leaf(None if grad is None else grad.reshape(m.wanted.shape))

    def named_buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        for m in self._held.by_role("buffer"):
            yield m.wanted.name, in_shape(self._held.places.get(m.own.name), m.wanted.shape).detach()

    def procedure(self, case: Case) -> Procedure:
        return Procedure(case)

    def remarks(self) -> list[str]:
        told = [
            remark.replace("attribute, so missing from the state_dict", "attribute") for remark in self._held.remarks()
        ]
        if self._sought:
            told.append(f"no gradient was found under any of {', '.join(self._sought)}")
        return [told_one.replace(" (attribute)", "") for told_one in told]


def _output(returned: Any) -> Any:
    """The output alone, as a tensor; a cache that comes with it is the candidate's own business."""
    if isinstance(returned, tuple) and returned:
        returned = returned[0]
    return as_tensor(returned) if isinstance(returned, np.ndarray | np.generic) else returned
