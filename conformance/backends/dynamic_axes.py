"""Which axes of an input a layer leaves open: those of the batch and of space, and every axis before the normalised."""

from __future__ import annotations

from itertools import count

from conformance.ops import OPS
from conformance.suite.case import Case

_SMALLEST = 4  # exporters take axes of size 0 and 1 for fixed


def dynamic_axes(case: Case) -> tuple[int, ...]:
    """The axes whose size may differ from call to call; the others are sizes of the parameters, or channels."""
    rank = len(case.shape)
    if "normalized_shape" in case.args:
        return tuple(range(rank - len(case.args["normalized_shape"])))
    if "in_features" in case.args:
        return tuple(range(rank - 1))
    unbatched = OPS[case.op].facts(case.args, case.shape).get("unbatched", 0)
    channels = 0 if unbatched else 1
    return tuple(axis for axis in range(rank) if axis != channels)


def example_shape(case: Case) -> tuple[int, ...]:
    """The shape at which a dynamic graph is exported: that of no case, and the same for all that share the graph."""
    dynamic = dynamic_axes(case)
    return tuple(_SMALLEST + axis if axis in dynamic else size for axis, size in enumerate(case.shape))


def distinct_shape(case: Case) -> tuple[int, ...]:
    """The same for a trace that takes equal sizes for one: those left open differ from each other and all others."""
    dynamic = dynamic_axes(case)
    taken = {size for axis, size in enumerate(case.shape) if axis not in dynamic}
    shape = list(case.shape)
    for axis in dynamic:
        shape[axis] = next(size for size in count(_SMALLEST) if size not in taken)
        taken.add(shape[axis])
    return tuple(shape)


def following_axes(case: Case) -> tuple[int, ...]:
    """The axes of the output whose sizes follow from open ones of x; none where they are those of x.

    They are found by what the output of two inputs has for its shape.
    """
    op, shape, axes = OPS[case.op], distinct_shape(case), dynamic_axes(case)
    larger = tuple(2 * size + 1 if axis in axes else size for axis, size in enumerate(shape))
    one, other = op.output_shape(case.args, shape), op.output_shape(case.args, larger)
    found = tuple(axis for axis, (size, another) in enumerate(zip(one, other, strict=True)) if size != another)
    same = found == axes and all(one[axis] == shape[axis] and other[axis] == larger[axis] for axis in axes)
    return () if same else found
