"""The formula of a student beside a frozen teacher, as lines of a script."""

from __future__ import annotations

from conformance.repro.block import Block, joined
from conformance.repro.fault import Fault
from conformance.repro.given import state_of
from conformance.repro.wide import wide_batches

_AXES = (0, 2, 3)
_SOURCE = (
    "Ioffe and Szegedy 2015, algorithm 1: the student's batch normalisation less that of the teacher, in evaluation"
)


def frozen_teacher(fault: Fault) -> Block | None:
    """``expected``, from ``state``, the parameters and buffers by their dotted names."""
    case, quantity = fault.case, fault.quantity
    channels, eps = case.shape[1], float(case.args["eps"])
    exact = case.dtype == "float64"
    kind, _, name = quantity.partition(".")
    block = Block(lines=[f"# {_SOURCE}"])
    if name.endswith("num_batches_tracked"):
        counted = len(fault.history) + fault.training if name.startswith("student") else 0
        start = f"state[{name!r}]" if name in state_of(fault) else "0"
        block.add(f"expected = np.array({start} + {counted})")
        return block
    dtype = ", np.longdouble" if exact else ""
    block.add(
        "def of(name, usual):",
        f"    return np.asarray(state.get(name, np.full({channels}, usual)){dtype}).reshape(-1, 1, 1)",
    )
    if kind == "buffer" and name.startswith("teacher."):
        block.add(f'expected = of("{name}", {float(name.endswith("var"))}).ravel()  # nothing moves it')
        return block
    if exact:
        block.add(wide_batches(fault))
    if kind == "buffer" or not fault.training:
        block.add(*_moved(fault, exact=exact))
    if kind == "buffer":
        block.add(f"expected = {'mean' if name.endswith('mean') else 'var'}.ravel()")
        return block
    if fault.history:
        block.add(f"{'x, gy' if fault.wants_gradient else 'x'} = batches[-1]")
    m, v = "mean", "var"
    if fault.training:
        block.add(f"m, v = x.mean({_AXES}, keepdims=True), x.var({_AXES}, keepdims=True)")
        m, v = "m", "v"
    block.add(f's, w = 1 / np.sqrt({v} + {eps!r}), of("student.weight", 1.0)')
    if quantity != "grad.student.bias":
        block.add(f"xh = s * (x - {m})")
    lines = _lines(quantity, eps, training=fault.training)
    block.add(*lines)
    return block if lines else None


def _moved(fault: Fault, *, exact: bool) -> list[str]:
    """``mean`` and ``var`` of the student after the steps that moved them."""
    momentum = fault.case.args["momentum"]
    lines = ['mean, var = of("student.running_mean", 0.0), of("student.running_var", 1.0)']
    includes_last = fault.quantity.startswith("buffer.") and fault.training
    mu = repr(float(momentum)) if momentum is not None else "mu"
    if exact and momentum is not None:
        lines.append(f"mu = np.longdouble({mu})")
        mu = "mu"
    body = [
        f"mean = (1 - {mu}) * mean + {mu} * x.mean({_AXES}, keepdims=True)[0]",
        f"var = (1 - {mu}) * var + {mu} * x.var({_AXES}, ddof=1, keepdims=True)[0]",
    ]
    if momentum is None:
        lines.append('count = int(state.get("student.num_batches_tracked", 0))')
        body = ["count += 1", "mu = np.longdouble(1) / count", *body]
    if fault.history:
        one = "x, gy" if fault.wants_gradient else "x"
        return [*lines, f"for {one} in batches{'' if includes_last else '[:-1]'}:", *joined(body)]
    return [*lines, *body] if includes_last else lines


def _lines(quantity: str, eps: float, *, training: bool) -> list[str]:
    centred = f"g - g.mean({_AXES}, keepdims=True) - xh * (g * xh).mean({_AXES}, keepdims=True)"
    return {
        "output": [
            f't = (x - of("teacher.running_mean", 0.0)) / np.sqrt(of("teacher.running_var", 1.0) + {eps!r})',
            'teacher = t * of("teacher.weight", 1.0) + of("teacher.bias", 0.0)',
            'expected = xh * w + of("student.bias", 0.0) - teacher',
        ],
        "grad_input": ["g = gy * w", f"expected = s * ({centred})" if training else "expected = s * g"],
        "grad.student.weight": [f"expected = (gy * xh).sum({_AXES})"],
        "grad.student.bias": [f"expected = gy.sum({_AXES})"],
    }.get(quantity, [])
