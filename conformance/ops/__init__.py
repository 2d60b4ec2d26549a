"""The ops: what each is called, which arguments it takes, and which facts can be computed about a case of it.

Entries are plain data and small functions; importing them imports neither NumPy nor torch.
A new op is one file in ``references/``, one entry here, and one file in ``cases/``.
"""

from __future__ import annotations

from conformance.ops.entry import Argument, Node, Op
from conformance.ops.layers import LAYERS
from conformance.ops.networks import NETWORKS
from conformance.ops.normalisation import NORMALISATION
from conformance.ops.procedures import PROCEDURES

OPS: dict[str, Op] = {op.name: op for op in (*NORMALISATION, *LAYERS, *NETWORKS, *PROCEDURES)}

__all__ = ["OPS", "Argument", "Node", "Op"]
