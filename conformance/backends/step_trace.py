"""The step of a case, traced and ready to be exported."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch.optim.sgd import sgd

from conformance.backends.batch_export import Job
from conformance.backends.cumulative import make_traceable
from conformance.backends.dynamic_axes import distinct_shape, following_axes
from conformance.backends.form import Form
from conformance.backends.modules import build
from conformance.backends.planned import form_of
from conformance.backends.reasons import stated
from conformance.backends.step_graph import StepGraph, Tensors, Update, trace_step
from conformance.backends.step_phases import Phase, trainable
from conformance.backends.tensors import dtype_of
from conformance.observation import Unsupported
from conformance.ops import OPS
from conformance.suite.case import Case, Optimizer


@dataclass(frozen=True, slots=True)
class Traced:
    """A step that is ready to be exported."""

    graph: StepGraph
    inputs: tuple[torch.Tensor, ...]
    form: Form
    kind: str
    following: tuple[int, ...] = ()  # open axes of the upstream gradient, where they are not those of x

    def job(self) -> Job:
        x, *more = self.inputs
        alike = 0 if self.following else 1
        results = len(self.graph.results)
        return Job(self.kind, self.graph.module, x, tuple(more), results, self.form, alike, self.following)


def trace(case: Case, phase: Phase) -> Traced:
    """The step of a case in one phase, with parameters and buffers in the order in which the op names them.

    Raises:
        Unsupported: torch cannot build the module, or cannot trace its step.
    """
    torch.set_num_threads(1)
    op = OPS[case.op]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build(case).train(phase.mode == "train")
        make_traceable(module)
        own = [f"param.{name}" for name in op.parameters(case.args)] + [
            f"buffer.{name}" for name in op.buffers(case.args)
        ]
        shape = distinct_shape(case) if case.export.dynamic else case.shape
        shapes = shape, op.output_shape(case.args, shape)
        x, grad_output = (torch.ones(shape, dtype=dtype_of(case.dtype)) for shape in shapes)
        update, again = update_of(case.optimizer if phase.update else None), phase.update == "later"
        graph = trace_step(module, x, grad_output, update, momenta=again, dynamic=case.export.dynamic)
    except Unsupported:
        raise
    except Exception as error:
        raise stated("torch", error) from error
    if again:
        own += [f"momentum.{name}" for name in trainable(case)]
    if list(graph.arguments[2:]) != own:
        raise Unsupported(f"torch: the module has {', '.join(graph.arguments[2:])}, the op {', '.join(own)}")
    state = tuple(tensor.detach().clone() for tensor in (*module.parameters(), *module.buffers()))
    if again:
        state += tuple(torch.zeros_like(tensor) for tensor in module.parameters() if tensor.requires_grad)
    kind = f"{case.op} {phase.mode} {phase.update}{' open' if case.export.dynamic else ''}"
    return Traced(
        graph, (x, grad_output, *state), form_of(case), kind, following_axes(case) if form_of(case).dynamic else ()
    )


def update_of(optimizer: Optimizer | None) -> Update | None:
    """torch's own update, as a function of tensors that it leaves alone."""
    if optimizer is None:
        return None
    arguments = optimizer.formula

    def update(params: Tensors, gradients: Tensors, momenta: Tensors) -> tuple[Tensors, Tensors]:
        after = {name: param.clone() for name, param in params.items()}
        buffers: list[torch.Tensor | None] = [momenta[name].clone() if name in momenta else None for name in params]
        sgd(
            list(after.values()),
            [gradients[name] for name in params],
            buffers,
            foreach=False,
            maximize=False,
            **arguments,
        )
        kept = dict(zip(params, buffers, strict=True)) if optimizer.momentum else {}
        return after, {name: buffer for name, buffer in kept.items() if buffer is not None}

    return update
