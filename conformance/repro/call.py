"""A fault inside a network, as a fault of the one call of the one layer that shows it.

The judge of networks takes what a backend put into each module as exact, so that the module alone, given the same
tensors, is where the fault is.
"""

from __future__ import annotations

import msgspec

from conformance.captured import Captured
from conformance.errors import ConformanceError
from conformance.inputs import Inputs, StepInputs
from conformance.ops import OPS
from conformance.record import Figure
from conformance.repro.fault import Fault
from conformance.suite.case import Case


def of_one_call(fault: Fault) -> Fault:
    """The fault as one of a single layer; the fault itself where it is that of a layer, or of the network as a whole.

    Raises:
        ConformanceError: it is shown by the node of a graph alone, which no layer of torch stands for.
    """
    if OPS[fault.case.op].nodes is None or fault.figure is None:
        return fault
    observation = fault.backend.run(fault.case, fault.inputs)
    for figure in (fault.figure, *(each for each in fault.record.figures if not each.ok)):
        title, _, quantity = figure.quantity.rpartition(" ")
        step = observation.steps[figure.step]
        for call in (*step.modules, *step.nodes):
            op = _op(call) if str(call) == title and call.x is not None else None
            if op is not None:
                case, inputs = _alone(fault, call, op)
                alone: Figure = msgspec.structs.replace(figure, quantity=quantity, step=0)
                return Fault(case, inputs, fault.backend, fault.record, fault.kind, alone, None, fault.why)
    if " (" not in fault.quantity:
        return fault
    raise ConformanceError(
        f"{fault.figure.quantity} of {fault.case.id} on {fault.backend.name} is shown by no layer of its own",
        hint="there is no script for it; conformance run --key KEY keeps the graph of a failing export",
    )


def _op(call: Captured) -> str | None:
    """The op that a module is, or that the node of a graph stands for."""
    if call.kind in OPS:
        return call.kind
    alike = (op for op in OPS.values() if op.reference == call.reference)
    return next((op.name for op in alike if call.x is not None and call.x.ndim in op.ranks), None)


def _alone(fault: Fault, call: Captured, op: str) -> tuple[Case, Inputs]:
    assert call.x is not None
    x = call.x
    stored = [array.dtype.name for array in (*call.params.values(), *call.buffers.values()) if array.ndim]
    case: Case = msgspec.structs.replace(
        fault.case,
        op=op,
        args=OPS[op].complete(OPS[op].defaults() | dict(call.args), tuple(x.shape)),
        shape=tuple(x.shape),
        dtype=x.dtype.name,
        param_dtype=stored[0] if stored else x.dtype.name,
        layout="contiguous",
        grad_layout="contiguous",
        requires_grad=True,
        params="random",
        buffers="random",
        steps=(call.mode,),
        resets=(),
        optimizer=None,
    )
    upstream = call.grad_output if call.grad_output is not None else x * 0
    return case, Inputs(dict(call.params), dict(call.buffers), (StepInputs(x, upstream),))
