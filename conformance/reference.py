"""From a case to its reference."""

from __future__ import annotations

from importlib import import_module

from conformance.composition import build_network
from conformance.ops import OPS
from conformance.suite.case import Case, Optimizer
from references.expected import Reference
from references.procedure import Procedure
from references.rounding import Class, precision
from references.sgd import SGD


def reference_class(op: str, variant: str = "") -> type:
    """The class that an op's entry names, such as ``references.batch_norm:BatchNorm``, or that of a variant."""
    entry = OPS[op]
    module, name = (entry.variants[variant] if variant else entry.reference).split(":")
    found: type = getattr(import_module(module), name)
    return found


def build_reference(case: Case, label: Class = "A", *, of: type | None = None) -> Reference:
    """The reference of a case under a precision class; ``of`` puts another class, such as a mistake, in its place.

    Where the case has an optimizer or resets buffers, the reference of the layer is wrapped in that of the procedure.
    """
    dtype = "float32" if case.dtype == "int64" else case.dtype
    built: Reference
    if OPS[case.op].nodes is not None:
        built = build_network(case, label)  # of: no mistake of a layer is one of a network
    else:
        built = (of or reference_class(case.op))(case.args, dtype, case.param_dtype, precision(dtype, label))
    if case.optimizer is None and not case.resets:
        return built
    return Procedure(built, case.resets, None if case.optimizer is None else _sgd(case.optimizer, case, label))


def _sgd(optimizer: Optimizer, case: Case, label: Class) -> SGD:
    return SGD(**optimizer.formula, param_dtype=case.param_dtype, label=label)
