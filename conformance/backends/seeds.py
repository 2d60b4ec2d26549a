"""Seeds for layers that draw: the same case draws the same on every run, whatever ran before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

from conformance.ops import OPS
from conformance.suite.case import Case

if TYPE_CHECKING:
    import onnx

#: the operators of ONNX that draw, and of which type their attribute ``seed`` is
DRAWING: dict[str, type] = {
    "Dropout": int, "Bernoulli": float, "Multinomial": float, "RandomNormal": float, "RandomNormalLike": float,
    "RandomUniform": float, "RandomUniformLike": float,
}  # fmt: skip


def seed_of(case: Case, step: int = 0) -> int:
    """A number of 31 bits that follows from the key of the case and the step."""
    return int.from_bytes(sha256(f"{case.key}/{step}/draws".encode()).digest()[:4], "little") >> 1


def seed_runtime(case: Case, step: int) -> None:
    """onnxruntime's generator, which sessions that have no seed of their own start from, one seed for each step.

    A graph has no memory, and every step has a session of its own: that the masks of two steps differ is then the doing
    of these seeds, and not of the runtime.
    """
    if draws(case):
        import onnxruntime

        onnxruntime.set_seed(seed_of(case, step))


def seed_of_nodes(case: Case, step: int) -> int:
    """The seed of the first node of a graph that draws, which each next one exceeds by one; float32 holds it."""
    return seed_of(case, step) >> 8


def seed_graph(model: onnx.ModelProto, case: Case, step: int) -> None:
    """Give every node that draws a seed of its own; for want of one, the evaluator of onnx asks the system."""
    if not draws(case):
        return
    import onnx

    drawing = [node for node in model.graph.node if node.op_type in DRAWING]
    for place, node in enumerate(drawing):
        if all(attribute.name != "seed" for attribute in node.attribute):
            seed = seed_of_nodes(case, step) + place
            node.attribute.append(onnx.helper.make_attribute("seed", DRAWING[node.op_type](seed)))


def draws(case: Case) -> bool:
    """Whether the op may draw; the others leave every generator alone."""
    return OPS[case.op].judged != "reference"


@contextmanager
def seeded(case: Case) -> Iterator[None]:
    """torch's generators as the case says, from its first step to its last; afterwards they are what they were."""
    if not draws(case):
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed_of(case))
        yield
