"""A whole training step as one traced function: forward, gradients and buffers after it.

torch.func.vjp differentiates the module as a function of its input and parameters, make_fx writes down every operator
that this takes, and what is left is a graph without state: (x, grad_output, parameters, buffers) -> (output,
grad_input, gradients of the parameters, buffers).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch._decomp import get_decompositions
from torch.func import functional_call, functionalize, vjp
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from conformance.backends.step_decompositions import BACKWARD, OPEN

Tensors = dict[str, torch.Tensor]

_aten = torch.ops.aten
#: the exporter writes every batch normalisation in inference form, so those of training are taken apart before it
_TAKEN_APART = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional",
    "_batch_norm_with_update",
    "_batch_norm_with_update_functional",
    "cudnn_batch_norm",
    "native_batch_norm_backward",  # its kernel does not take what the parts save for it in mixed precision
)


@dataclass(frozen=True, slots=True)
class StepGraph:
    """The traced step.  ``arguments`` and ``results`` name what it takes and gives, as an observation names them."""

    module: torch.fx.GraphModule
    arguments: tuple[str, ...]
    results: tuple[str, ...]


#: (parameters, their gradients, momentum buffers before, or none) -> parameters and momentum buffers after, by name
Update = Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]


def trace_step(
    module: torch.nn.Module,
    x: torch.Tensor,
    grad_output: torch.Tensor,
    update: Update | None = None,
    *,
    momenta: bool = False,
    dynamic: bool = False,
) -> StepGraph:
    """The step of a module in the mode in which it is; x and grad_output are examples, the module stays as it is.

    dynamic: whether the trace is to hold for inputs of other sizes, as far as the operators allow.
    update: ends the step with an optimizer's update, which is given momentum buffers where there are ``momenta`` yet.

    The names are ``x``, ``grad_output``, ``param.NAME``, ``buffer.NAME`` and ``momentum.NAME``, and ``output``,
    ``grad_input``, ``grad.NAME``, ``buffer.NAME`` and, with an update, ``param.NAME`` and ``momentum.NAME``.  Raises
    whatever torch says to the module or to its trace.
    """
    params = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    buffers = {name: tensor.detach().clone() for name, tensor in module.named_buffers()}

    trainable = {name for name, tensor in module.named_parameters() if tensor.requires_grad}
    before = {name: torch.zeros_like(tensor) for name, tensor in params.items() if name in trainable} if momenta else {}
    updated: list[str] = []

    def step(x: torch.Tensor, grad_output: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(buffers, state[len(params) :], strict=False))

        def forward(x: torch.Tensor, params: dict[str, torch.Tensor]) -> Any:
            after = {name: tensor.clone() for name, tensor in given.items()}  # the module writes to these
            return functional_call(module, params | after, (x,)), after

        differentiated: Any = vjp(forward, x, dict(zip(params, state, strict=False)), has_aux=True)
        output, back, after = differentiated
        grad_input, grads = back(grad_output)
        results = (output, grad_input, *grads.values(), *after.values())
        if update is None:
            return results
        buffered = dict(zip(before, state[len(params) + len(buffers) :], strict=True))
        new, moved = update(
            {name: each for name, each in zip(params, state, strict=False) if name in trainable},
            {name: each for name, each in grads.items() if name in trainable},
            buffered,
        )
        updated[:] = [*(f"param.{name}" for name in new), *(f"momentum.{name}" for name in moved)]
        return (*results, *new.values(), *moved.values())

    decompositions = BACKWARD | (_batch_norm_decompositions() if module.training else {})
    decompositions |= OPEN if dynamic else {}
    with warnings.catch_warnings(), _LinearInTwoAxes() if dynamic else nullcontext():
        warnings.simplefilter("ignore")
        graph = make_fx(
            functionalize(step, remove="mutations"),
            decomposition_table=decompositions,
            tracing_mode="symbolic" if dynamic else "real",
        )(x, grad_output, *params.values(), *buffers.values(), *before.values())
    given = [f"param.{name}" for name in params] + [f"buffer.{name}" for name in buffers]
    given += [f"momentum.{name}" for name in before]
    results = [f"grad.{name}" for name in params] + [f"buffer.{name}" for name in buffers] + updated
    return StepGraph(graph, ("x", "grad_output", *given), ("output", "grad_input", *results))


class _LinearInTwoAxes(TorchFunctionMode):
    """Linear layers of more than two axes as those of two: of theirs torch writes the sizes into the graph."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.nn.functional.linear and args[0].dim() > 2:
            x, *parameters = args
            flat = function(x.reshape(-1, x.shape[-1]), *parameters, **(kwargs or {}))
            return flat.reshape(*x.shape[:-1], flat.shape[-1])
        return function(*args, **(kwargs or {}))


def _batch_norm_decompositions() -> dict[Any, Any]:
    """Core ATen decompositions of those batch normalisations that this torch has."""
    return dict(get_decompositions([getattr(_aten, name) for name in _TAKEN_APART if hasattr(_aten, name)]))
