r"""A student beside a frozen teacher, as in knowledge distillation (Hinton, Vinyals and Dean 2015).

.. math::
    y = S(x) - T(x), \qquad \bar x = \bar x_S

S and T are batch normalisations.  S trains or evaluates as it is told; T is frozen: it evaluates always, so its buffers
never move, its parameters have no gradient, and none flows through it.  Setting ``requires_grad`` to false freezes the
parameters alone: a teacher that is left in train mode normalises with the batch, and its buffers move with every
forward pass.

Allowed error: :math:`\delta y = \delta y_S + [y_S] + \delta y_T + [y_T] + U |y|`, with [q] = u |q| + eta for rounding q
on store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.batch_norm import BatchNorm
from references.expected import Expected, Mode, Quantity
from references.fold import Fold
from references.rounding import FORMATS, Precision

Array = NDArray[Any]


class FrozenTeacher:
    """x: (N, C, H, W) -> (N, C, H, W); parameters and buffers: (C,), named ``student.NAME`` and ``teacher.NAME``."""

    def __init__(self, args: Mapping[str, Any], dtype: str, param_dtype: str, precision: Precision) -> None:
        own = {**args, "bias": True, "track_running_stats": True}
        self.args = args
        self.dtype = dtype
        self.precision = precision
        self.student = BatchNorm(own, dtype, param_dtype, precision)
        self.teacher = BatchNorm(own, dtype, param_dtype, precision)

    def fold(self, shape: tuple[int, ...]) -> Fold:
        """The slices of either of the two."""
        return self.student.fold(shape)

    def teacher_mode(self, mode: Mode) -> Mode:
        """The mode of the teacher, whatever that of the step is."""
        return "eval"

    def initial(self, buffers: Mapping[str, Array]) -> dict[str, Quantity]:
        """The state before the first step: the buffers of both, exact."""
        return _named("student", self.student.initial(_of("student", buffers))) | _named(
            "teacher", self.teacher.initial(_of("teacher", buffers))
        )

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        """One forward of both and one backward of the student."""
        taught = self.teacher.step(
            x, np.zeros_like(grad_output), _of("teacher", params), _of("teacher", state), self.teacher_mode(mode)
        )
        learnt = self.student.step(x, grad_output, _of("student", params), _of("student", state), mode)
        quantities = {"output": self.difference(learnt.quantities["output"], taught.quantities["output"])}
        quantities["grad_input"] = learnt.quantities["grad_input"]
        for name, quantity in learnt.quantities.items():
            if name.startswith(("grad.", "buffer.")):
                kind, _, own = name.partition(".")
                quantities[f"{kind}.student.{own}"] = quantity
        for name, quantity in taught.quantities.items():
            if name.startswith("buffer."):
                quantities[f"buffer.teacher.{name.removeprefix('buffer.')}"] = quantity
        after = _named("student", learnt.state) | _named("teacher", taught.state)
        undetermined = max(learnt.undetermined_slices, taught.undetermined_slices)
        return replace(learnt, quantities=quantities, state=after, undetermined_slices=undetermined)

    def difference(self, student: Quantity, teacher: Quantity) -> Quantity:
        """Student minus teacher, each of them rounded on store before."""
        with np.errstate(all="ignore"):
            value = student.value - teacher.value
            stored = FORMATS[self.dtype]
            on_store = stored.u * (np.abs(student.value) + np.abs(teacher.value)) + 2 * stored.eta
            scale = student.scale + teacher.scale + on_store + self.precision.U * np.abs(value)
        masks = [each.undetermined for each in (student, teacher) if each.undetermined is not None]
        return Quantity(value, scale, self.dtype, np.logical_or.reduce(masks) if masks else None)


def _of(part: str, named: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): each for name, each in named.items() if name.startswith(prefix)}


def _named(part: str, own: Mapping[str, Quantity]) -> dict[str, Quantity]:
    return {f"{part}.{name}": each for name, each in own.items()}
