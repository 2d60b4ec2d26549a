"""From a case of a network to its reference, composed of those of its layers."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from conformance.ops import OPS, Node
from conformance.ops.networks import layer_dtype
from conformance.suite.case import Case
from references.expected import Reference
from references.network import Network, Stage
from references.rounding import Class, precision


def nodes_of(case: Case) -> tuple[Node, ...]:
    """The layers and joins of a network, complete; none where the case is of a layer."""
    make = OPS[case.op].nodes
    return () if make is None else make(case.args)


def layer_reference(case: Case, node: Node, label: Class = "A") -> Reference:
    """The reference of one layer inside of a network."""
    home, _, name = OPS[node.op].reference.partition(":")
    stored = layer_dtype(node.op, case.dtype, case.param_dtype)
    built: Reference = getattr(import_module(home), name)(node.args, case.dtype, stored, precision(case.dtype, label))
    return built


def end_to_end_holds(case: Case) -> bool:
    """Whether a network can be judged from outside: in float32 and float64, and where chance decides nothing.

    In narrow formats rounding flips kinks (ReLU, max pooling), and the sign of what a normalisation of few values
    gives, and one flip outweighs every rounding.
    """
    nodes = nodes_of(case)
    chance = any(node.op == "Dropout" and node.args["p"] > 0 for node in nodes) and "train" in case.steps
    return bool(nodes) and not chance and case.dtype in ("float32", "float64")


def build_network(case: Case, label: Class = "A") -> Network:
    """The reference of a network under a precision class, which then holds for all of its layers."""
    return Network([_stage(case, node, label) for node in nodes_of(case)], case.dtype, precision(case.dtype, label))


def _stage(case: Case, node: Node, label: Class) -> Stage:
    if node.op not in OPS:
        return Stage(node.key, node.name, node.inputs, join=node.op)
    shape = partial(OPS[node.op].output_shape, node.args)
    return Stage(node.key, node.name, node.inputs, layer_reference(case, node, label), output_shape=shape)
