"""The part of a script that says what is right: the formula, inline, in float64.

The number that it gives is compared with the reference's before anybody sees it; where a formula is not written here,
or does not give the same, the script holds the expected number itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance.judge.allowance import allowance
from conformance.judge.expectation import Expectation
from conformance.observation import Observation
from conformance.ops import OPS
from conformance.reference import build_reference
from conformance.repro import layers
from conformance.repro.block import Block, joined
from conformance.repro.fault import Fault
from conformance.repro.given import run_block, spread, state_of, unfolded, variable
from conformance.repro.sources import SOURCES
from conformance.repro.teacher import frozen_teacher
from conformance.repro.update import known_before, updated
from conformance.repro.wide import wide_batches
from conformance.suite.case import Case
from references.expected import Quantity
from references.fold import Fold

#: op family -> the lines that make ``expected``, an array, from the inputs; None where the quantity is not covered
Writer = Callable[[Fault], Block | None]


def expected_quantity(fault: Fault) -> tuple[Quantity, Observation | None]:
    """What the reference says, by which the fault was found; and the run, where that depends on it."""
    case, expectation = fault.case, Expectation(fault.case, fault.inputs)
    if OPS[case.op].judged == "reference" and case.optimizer is None:
        return expectation.steps()[fault.last].quantities[fault.quantity], None
    seen = fault.backend.run(case, fault.inputs)
    return expectation.steps_for(seen)[fault.last].quantities[fault.quantity], seen


def definition_block(fault: Fault, given: Block) -> Block:
    """What makes ``expected``; an array by the formula, or one number."""
    assert fault.figure is not None
    quantity, seen = expected_quantity(fault)
    index = fault.figure.index
    if OPS[fault.case.op].judged == "law" and fault.quantity in ("output", "grad_input"):
        return _kept(fault)
    writer = _WRITERS.get(OPS[fault.case.op].family)
    determined = quantity.undetermined is None or not bool(quantity.undetermined[index])
    if writer is not None and determined:
        block = writer(fault) if fault.case.optimizer is None else updated(fault, writer)
        if block is not None and _gives(given + block, quantity, index, known_before(fault, seen)):
            return block
    return _number(fault, quantity)


def _gives(block: Block, quantity: Quantity, index: tuple[int, ...], known: dict[str, Any]) -> bool:
    """Whether the formula gives the reference's number, as far as the allowed error can tell."""
    value = quantity.value[index]
    try:
        found = np.asarray(run_block(block, known)["expected"])
    except Exception:  # noqa: BLE001 - a formula that cannot be evaluated here says nothing
        return False
    if found.shape != quantity.value.shape:
        return False
    if np.isnan(value) or np.isinf(value):
        return bool(np.isnan(found[index]) == np.isnan(value) and (np.isnan(value) or found[index] == value))
    allowed = 1e-300 if quantity.stored == "int64" else float(allowance(quantity, "A").allowed[index])
    return bool(abs(found[index] - value) <= 2e-4 * allowed)


def _number(fault: Fault, quantity: Quantity) -> Block:
    """The expected number itself, and where it comes from."""
    assert fault.figure is not None
    index = fault.figure.index
    value = quantity.value[index]
    block = Block()
    if quantity.undetermined is not None and bool(quantity.undetermined[index]):
        block.add(
            "# The variance of this slice is below what rounding leaves of it, so that its value is not determined:",
            "# all that is asked is a finite number within the allowance of this one, which sqrt(n) |w| + |b| bounds.",
        )
    else:
        block.add(f"# {SOURCES.get(OPS[fault.case.op].family, 'the definition')}, computed in higher precision")
    number = (
        "np.nan"
        if np.isnan(value)
        else "np.inf"
        if value == np.inf
        else "-np.inf"
        if value == -np.inf
        else repr(float(value))
    )
    block.add(f"expected = {{{index!r}: {number}}}")
    return block


def _kept(fault: Fault) -> Block:
    """Dropout: what was kept is seen in the output; the rest follows from that."""
    p = float(fault.case.args["p"])
    given = "x" if fault.quantity == "output" else "gy"
    block = Block(lines=[f"# {SOURCES['dropout']}"])
    block.add("kept = np.asarray(y.detach().double() if isinstance(y, torch.Tensor) else y, float) != 0")
    block.imports.add("import torch")
    scaled = f"{given} / (1 - {p!r})" if fault.training and p < 1 else (given if not fault.training else f"0 * {given}")
    block.add(f"expected = np.where(kept, {scaled}, 0.0)")
    return block


# ---- normalisation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Geometry:
    """How a normalisation layer lies on its input: what its lines of a script need to know.

    axes: over which statistics run, of the input or, where it is not empty, of its ``view``.  shared: over which the
    gradients of parameters are summed.
    """

    fold: Fold
    axes: tuple[int, ...]
    view: tuple[int, ...]
    shared: tuple[int, ...]
    centred: bool

    def seen(self, name: str) -> str:
        return f"{name}.reshape({', '.join(map(str, self.view))})" if self.view else name

    def back(self, value: str) -> str:
        return f"({value}).reshape(x.shape)" if self.view else value

    def mean(self, value: str) -> str:
        return f"{value}.mean({self.axes}, keepdims=True)"

    def variance(self, x: str) -> str:
        return self.mean(f"(({x} - m) ** 2)" if self.centred else f"({x}**2)")


def _geometry(case: Case) -> _Geometry:
    reference: Any = build_reference(case)
    fold: Fold = reference.fold(case.shape)
    family, rank = OPS[case.op].family, len(case.shape)
    kept = {"batch_norm": (1,), "group_norm": (0, 1)}.get(family) or tuple(range(rank - _trailing(case)))
    view = (case.shape[0], int(case.args["num_groups"]), -1) if family == "group_norm" else ()
    axes = tuple(axis for axis in range(3 if view else rank) if axis not in kept)
    shared = tuple(axis for axis in range(rank) if axis not in fold.parameter_axes)
    return _Geometry(fold, axes, view, shared, family != "rms_norm")


def _normalisation(fault: Fault) -> Block | None:
    case, quantity = fault.case, fault.quantity
    at = _geometry(case)
    reference: Any = build_reference(case)
    constant = not fault.training and bool(OPS[case.op].buffers(case.args))
    block = Block(lines=[f"# {SOURCES[OPS[case.op].family]}"])
    current = "x, gy" if fault.wants_gradient else "x"
    if case.dtype == "float64":
        block.add(wide_batches(fault))
    if quantity == "buffer.num_batches_tracked":
        start = "num_batches_tracked" if quantity.removeprefix("buffer.") in state_of(fault) else "0"
        counted = len(fault.history) + fault.training if OPS[case.op].family == "batch_norm" else 0
        remark = "one more with each training step" if counted else "as it was"
        block.add(f"expected = np.array({start} + {counted})  # {remark}")
        return block
    if constant or quantity.startswith("buffer."):
        block += _moved(fault, at)
        if quantity.startswith("buffer."):
            block.add(f"expected = {quantity.removeprefix('buffer.')}")
            return block
    if fault.history:
        block.add(f"{current} = batches[-1]")
    if constant:
        channel = ", ".join("-1" if axis in at.fold.parameter_axes else "1" for axis in range(len(case.shape)))
        block.add(f"m, v = (t.reshape({channel}) for t in (running_mean, running_var))")
    else:
        block.add(*_statistics(at, at.seen("x")))
    subtracts = at.centred or constant
    block.add(f"s = 1 / np.sqrt(v + {reference.eps!r})")
    lines = _quantity_lines(fault, at, constant=constant)
    if any("xh" in line for line in lines):
        x = at.seen("x")
        block.add(f"xh = {at.back(f's * ({x} - m)' if subtracts else f's * {x}')}")
    block.add(*lines)
    return block if lines else None


def _statistics(at: _Geometry, x: str) -> list[str]:
    mean = [f"m = {at.mean(x)}"] if at.centred else []
    return [*mean, f"v = {at.variance(x)}"]


def _quantity_lines(fault: Fault, at: _Geometry, *, constant: bool) -> list[str]:
    """From xh to the quantity; nothing where it is none of these."""
    state = state_of(fault)
    w = spread("weight", at.fold) if "weight" in state else ""
    b = spread("bias", at.fold) if "bias" in state else ""
    xh = at.seen("xh")
    less_mean = f" - {at.mean('g')}" if at.centred else ""
    inner = f"s * (g{less_mean} - {xh} * {at.mean(f'(g * {xh})')})"
    upstream = f"gy * {w}" if w else "gy"
    return {
        "output": ["expected = " + " + ".join(filter(None, (f"{w} * xh" if w else "xh", b)))],
        "grad_input": [
            f"g = {at.seen(f'({upstream})') if at.view and w else at.seen(upstream)}",
            "expected = s * g" if constant else f"expected = {at.back(inner)}",
        ],
        "grad.weight": [f"expected = (gy * xh).sum({at.shared})"],
        "grad.bias": [f"expected = gy.sum({at.shared})"],
    }.get(fault.quantity, [])


def _trailing(case: Case) -> int:
    """How many trailing axes are normalised together, where it is trailing ones."""
    if "normalized_shape" in case.args:
        return len(case.args["normalized_shape"])
    return int(case.op[-2])  # InstanceNorm2d: two


def _moved(fault: Fault, at: _Geometry) -> Block:
    """Running statistics after the steps that moved them."""
    case = fault.case
    block = Block()
    state = state_of(fault)
    channels = int(case.args["num_features"])
    if "running_mean" not in state:
        block.add(f"running_mean, running_var = np.zeros({channels}), np.ones({channels})")
    exact = case.dtype == "float64"
    if exact:
        block.add("running_mean, running_var = (t.astype(np.longdouble) for t in (running_mean, running_var))")
    includes_last = fault.quantity.startswith("buffer.") and fault.training
    if not fault.history and not includes_last:
        return block
    average = case.args["momentum"] is None
    mu = "mu" if average or exact else repr(float(case.args["momentum"]))
    per_channel = ".mean(0)" if len(case.shape) - len(at.axes) == 2 else ""
    body = ["count += 1", "mu = np.longdouble(1) / count"] if average else []
    body += [
        f"running_mean = (1 - {mu}) * running_mean + {mu} * x.mean({at.axes}){per_channel}",
        f"running_var = (1 - {mu}) * running_var + {mu} * x.var({at.axes}, ddof=1){per_channel}",
    ]
    if exact and not average:
        block.add(f"mu = np.longdouble({float(case.args['momentum'])!r})")
    if average:
        count = state.get("num_batches_tracked")
        block.add(f"count = {int(count) if count is not None else 0}")
    if fault.history:
        one = "x, gy" if fault.wants_gradient else "x"
        block.add(f"for {one} in batches{'' if includes_last else '[:-1]'}:")
        body = joined(body)
    block.add(*body)
    return block


# ---- local response normalisation ------------------------------------------------------------------------------------


def _local_response(fault: Fault) -> Block | None:
    args = fault.case.args
    size, alpha, beta, k = int(args["size"]), float(args["alpha"]), float(args["beta"]), float(args["k"])
    block = Block()
    block.add(
        f"# {SOURCES['local_response_norm']}",
        "def windowed(t, below, above):  # the sum over channels c - below .. c + above",
        "    total = np.zeros_like(t)",
        "    for at in range(-below, above + 1):",
        "        low, high = max(0, -at), max(max(0, -at), min(t.shape[1], t.shape[1] - at))",
        "        total[:, low:high] += t[:, low + at : high + at]",
        "    return total",
    )
    if fault.case.dtype == "float64":
        names = "x, gy" if fault.wants_gradient else "x"
        block.add(f"{names} = " + ", ".join(f"{name}.astype(np.longdouble)" for name in names.split(", ")))
    below, above = size // 2, (size - 1) // 2
    block.add(f"a = {k!r} + {alpha!r} / {size} * windowed(x**2, {below}, {above})")
    if fault.quantity == "output":
        block.add(f"expected = x * a**-{beta!r}")
    elif fault.quantity == "grad_input":
        block.add(
            f"reached = windowed(gy * x * a ** (-{beta!r} - 1), {above}, {below})",
            f"expected = gy * a**-{beta!r} - 2 * {alpha!r} * {beta!r} / {size} * x * reached",
        )
    else:
        return None
    return block


_WRITERS: dict[str, Writer] = {
    "batch_norm": _normalisation,
    "instance_norm": _normalisation,
    "layer_norm": _normalisation,
    "rms_norm": _normalisation,
    "group_norm": _normalisation,
    "local_response_norm": _local_response,
    "linear": layers.linear,
    "convolution": layers.convolution,
    "avg_pool": layers.average_pool,
    "max_pool": layers.max_pool,
    "sigmoid": layers.sigmoid,
    "tanh": layers.tanh,
    "relu": layers.relu,
    "flatten": layers.flatten,
    "frozen_teacher": frozen_teacher,
}

__all__ = ["definition_block", "expected_quantity", "unfolded", "variable"]
