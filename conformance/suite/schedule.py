"""The steps of a case as a case file writes them, and what of them cannot be carried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance.ops import Op
from conformance.suite.case import Mode, Optimizer, StepWord


def modes_and_resets(words: Sequence[StepWord]) -> tuple[tuple[Mode, ...], tuple[int, ...]]:
    """The modes of the steps, and the numbers of those before which the buffers become those of a new layer."""
    steps: list[Mode] = []
    resets: list[int] = []
    for word in words:
        if word == "reset":
            resets.append(len(steps))
        else:
            steps.append(word)
    return tuple(steps), tuple(dict.fromkeys(resets))


def optimizer_of(given: Mapping[str, Any] | None) -> Optimizer | None:
    """The optimizer that a mapping spells out, with 1 as 1.0, so that both make the same case."""
    if given is None:
        return None
    exact: dict[str, Any] = {name: float(each) if type(each) is int else each for name, each in given.items()}
    return Optimizer(**exact)


def schedule_misfit(op: Op, args: Mapping[str, Any], fields: Mapping[str, Any]) -> str | None:
    """The first thing in the steps that cannot be carried out, or that nothing would show; None where all is well."""
    return next(_misfits(op, args, fields), None)


def _misfits(op: Op, args: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    steps, resets, optimizer = (fields[name] for name in ("steps", "resets", "optimizer"))
    if not steps:
        yield "the steps are all resets; say what comes after them, train or eval"
    if len(steps) in resets:
        yield "the last step is a reset, which nothing shows; end with train or eval"
    if resets and not op.buffers(args):
        yield f"{op.name} with these arguments has no buffers to reset"
    if optimizer is None:
        return
    if "train" not in steps:
        yield "an optimizer updates after train steps, and there are none"
    if not op.parameters(args):
        yield f"{op.name} with these arguments has no parameters for an optimizer"
    if optimizer.nesterov and not (optimizer.momentum and not optimizer.dampening):
        yield "nesterov needs a momentum above 0 and no dampening"
