"""A step that is to be run as a graph: the layer in its mode and state, and the input that it meets."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from conformance.backends.dynamic_axes import dynamic_axes, example_shape
from conformance.backends.form import Form
from conformance.observation import Array
from conformance.suite.case import Case, Mode

if TYPE_CHECKING:  # torch is not needed for a graph that is there already
    import torch

    from conformance.backends.batch_export import Job


@dataclass(frozen=True, slots=True)
class Planned:
    """One step.  ``digest`` is all that its graph depends on but the values of the state, ``whole`` with the values."""

    case: Case
    mode: Mode
    x: Array
    state: dict[str, Array]
    digest: str
    whole: str
    trained: dict[str, Array] = field(default_factory=dict)  # parameters and momentum buffers after the step

    @property
    def values(self) -> dict[str, Array]:
        """The state as far as a graph can depend on it."""
        return decisive(self.case, self.state)

    @property
    def form(self) -> Form:
        return form_of(self.case)

    @property
    def example(self) -> Array:
        """The input to export with, which is another where the graph leaves sizes open."""
        return np.ones(example_shape(self.case), self.x.dtype) if self.case.export.dynamic else self.x

    @property
    def kind(self) -> str:
        """What exportability mostly depends on: not on sizes and other numbers."""
        form = self.form
        args = {
            name: value if value is None or isinstance(value, bool | str) else type(value).__name__
            for name, value in self.case.args.items()
        }
        return msgspec.json.encode((self.case.op, args, self.mode, form.dynamic, form.opset)).decode()

    @property
    def module(self) -> torch.nn.Module:
        """A new module each time, for exporters may train what they export."""
        from conformance.backends.modules import build
        from conformance.backends.tensors import to_tensor

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build(self.case)
        module.load_state_dict({name: to_tensor(array) for name, array in self.state.items()})
        return module.train(self.mode == "train")

    def job(self) -> Job:
        from conformance.backends.batch_export import Job
        from conformance.backends.tensors import to_tensor

        return Job(self.kind, self.module, to_tensor(self.example), form=self.form)


def form_of(case: Case) -> Form:
    """The form in which the graphs of a case are asked for."""
    return Form(dynamic_axes(case) if case.export.dynamic else (), case.export.opset)


def decisive(case: Case, state: dict[str, Array]) -> dict[str, Array]:
    """The state as far as a graph can depend on it: the count matters to a cumulative average alone."""
    counted = case.args.get("momentum", 0.0) is None
    return {name: array for name, array in state.items() if counted or array.dtype.kind not in "iub" or array.ndim}
