"""What is right of a network as a whole: its modules in float64, or the values that its layers' formulas come to."""

from __future__ import annotations

import numpy as np

from conformance.judge.expectation import Expectation
from conformance.observation import Array
from conformance.repro.block import Block
from conformance.repro.fault import Fault
from conformance.repro.given import run_block

_NEAR = 5e-4  # of the error that is to be shown: so far the modules in float64 may be from the formulas


def whole_block(fault: Fault, made: Block) -> Block:
    """``expected`` and ``sliced``, the rows that are judged one by one; made: what makes the inputs and the network."""
    figure = fault.figure
    assert figure is not None
    seen = fault.backend.run(fault.case, fault.inputs)
    right = Expectation(fault.case, fault.inputs).steps_for(seen)[fault.last].quantities[fault.quantity].value
    twin = Block(_twin(fault))
    place = figure.index[0]
    if figure.error is None or not _near(made + twin, right, fault, _NEAR * figure.error):
        one = _sliced(fault, right)[place].astype(float).tolist()
        twin = Block(["# the formulas of its layers one after another, in extended precision"])
        twin.add(f"expected = np.zeros({right.shape})", f"sliced(expected)[{place}] = {one!r}")
    rows = "1" if _in_one_row(fault.quantity, right) else "len(array)"
    rule = Block([f"def sliced(array): return array.reshape({rows}, -1)"])
    return rule + twin


def _twin(fault: Fault) -> list[str]:
    modes = [*(True for _ in fault.history), fault.training]
    what = {"output": "y", "grad_input": "t.grad"}.get(fault.quantity)
    kind, _, name = fault.quantity.partition(".")
    what = what or (f'twin.get_buffer("{name}")' if kind == "buffer" else f'twin.get_parameter("{name}").grad')
    x, step = "torch.tensor(x, requires_grad=True)", ["y = twin.train(mode)(t)"]
    if fault.wants_gradient:
        step = ["twin.zero_grad()", *step, "y.backward(torch.tensor(gy))"]
    one = "(x, gy)" if fault.wants_gradient else "x"
    batches = "batches" if fault.history else f"[{one}]"
    return [
        "# the same modules in float64, as torch itself runs them",
        f"for mode, {one} in zip({modes}, {batches}):",
        *(f"    {line}" for line in (f"t = {x}", *step)),
        f"expected = {what}.detach().numpy()",
    ]


def _near(block: Block, right: Array, fault: Fault, limit: float) -> bool:
    """Whether the modules in float64 say what the formulas say, as far as the error is concerned."""
    figure = fault.figure
    assert figure is not None
    try:
        found = np.asarray(run_block(block)["expected"])
    except Exception:  # noqa: BLE001 - modules that cannot be run say nothing
        return False
    if found.shape != right.shape:
        return False
    off = _sliced(fault, found - right)[figure.index[0]].astype(float)
    return bool(np.linalg.norm(off) <= limit)


def _sliced(fault: Fault, array: Array) -> Array:
    rows: Array = array.reshape(1 if _in_one_row(fault.quantity, array) else len(array), -1)
    return rows


def _in_one_row(quantity: str, array: Array) -> bool:
    return quantity.startswith("buffer.") or quantity.endswith(".bias") or not array.ndim
