"""What is compared as text: dtype, shape and memory format of the output, the state_dict, an untouched input."""

from __future__ import annotations

from conformance.ops import OPS
from conformance.ops.networks import state_names
from conformance.record import Figure
from conformance.suite.case import Case


def expected_structure(case: Case) -> dict[str, str]:
    """The structure that a correct layer shows in every step; the memory format only where the op promises one."""
    op = OPS[case.op]
    expected = {
        "dtype": case.dtype,
        "shape": "x".join(map(str, op.output_shape(case.args, case.shape))),
        "input_modified": "no",
        "state_dict": ",".join(
            _by_module([*op.parameters(case.args), *op.buffers(case.args)])
            if op.nodes is None
            else state_names(op.nodes(case.args))
        ),
    }
    if case.layout == "contiguous" or case.layout in op.keeps_memory_format:
        expected["memory_format"] = case.layout
    return expected


def _by_module(names: list[str]) -> list[str]:
    """Dotted names as a state_dict orders them: one module after another, parameters before buffers."""
    modules = dict.fromkeys(name.rpartition(".")[0] for name in names)
    return [name for module in modules for name in names if name.rpartition(".")[0] == module]


def compare_structure(expected: dict[str, str], got: dict[str, str], step: int) -> list[Figure]:
    """One figure per structural quantity that the backend observed."""
    return [
        Figure(
            quantity=name,
            step=step,
            budget=None,
            got=got[name],
            expected=expected[name],
            source="structure",
            ok=got[name] == expected[name],
        )
        for name in expected
        if name in got
    ]
