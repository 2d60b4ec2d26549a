"""Many modules exported in one call of the exporter, because most of a call's cost does not depend on the module.

The modules stand side by side in one wrapper, each with inputs and outputs of its own; what comes out is cut apart
again.  A test compares the parts with what single exports give, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch

from conformance.backends.canonical import part
from conformance.backends.exporters import PLAIN, Form, dynamo_program, named_axes, with_dynamo

Outcome = onnx.ModelProto | Exception


@dataclass(frozen=True, slots=True)
class Job:
    """A module in the mode in which it is to be exported, example inputs, and what kind of thing it is.

    Most modules take ``x`` alone and return one tensor; others take ``more`` after it, or return a tuple of
    ``results`` tensors.
    """

    kind: str
    module: torch.nn.Module
    x: torch.Tensor
    more: tuple[torch.Tensor, ...] = ()
    results: int = 1
    form: Form = PLAIN


class SideBySide(torch.nn.Module):
    """Independent modules: the outputs of each depend on its own inputs alone, and stand together in its place."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList([job.module for job in jobs])
        self.takes = [1 + len(job.more) for job in jobs]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: list[torch.Tensor] = []
        rest = inputs
        for module, takes in zip(self.parts, self.takes, strict=True):
            given, rest = rest[:takes], rest[takes:]
            made = module(*given)
            outputs += [made] if isinstance(made, torch.Tensor) else made
        return tuple(outputs)


class BatchExport:
    """Exports many modules in few calls.

    When a call fails its jobs are halved until the one that cannot be exported stands alone; that one is exported by
    itself, so that its exception is the one that a user would see.  Its kind is remembered: others of the kind are
    exported one by one, since halving again for each of them would cost more.
    """

    def __init__(self) -> None:
        self._suspects: set[str] = set()

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        """A model for each job, or the exception that its export ends in."""
        outcomes: dict[int, Outcome] = {}
        by_opset: dict[int | None, dict[int, Job]] = {}  # a call has one opset
        for place, job in enumerate(jobs):
            by_opset.setdefault(job.form.opset, {})[place] = job
        for alike in by_opset.values():
            self._export(alike, outcomes)
        return [outcomes[place] for place in range(len(jobs))]

    def _export(self, jobs: dict[int, Job], outcomes: dict[int, Outcome]) -> None:
        trusted = {place: job for place, job in jobs.items() if job.kind not in self._suspects}
        if len(trusted) == 1:
            trusted = {}  # there is nobody to share a call with
        for place in jobs.keys() - trusted.keys():
            outcomes[place] = self._alone(jobs[place])
        if not trusted:
            return
        try:
            models = _together(list(trusted.values()))
        except Exception:  # noqa: BLE001 - some job among these; the halves tell which
            places = sorted(trusted)
            for half in (places[: len(places) // 2], places[len(places) // 2 :]):
                self._export({place: trusted[place] for place in half}, outcomes)
        else:
            outcomes.update(zip(trusted, models, strict=True))

    def _alone(self, job: Job) -> Outcome:
        try:
            return with_dynamo(job.module, job.x, job.form, job.more)
        except Exception as error:  # noqa: BLE001 - the outcome of this job, for its caller to report
            self._suspects.add(job.kind)
            return error


def _together(jobs: Sequence[Job]) -> list[onnx.ModelProto]:
    inputs = tuple(tensor for job in jobs for tensor in (job.x, *job.more))
    axes: list[dict[int, Any] | None] = []  # of x alone: whatever else a job takes has fixed sizes
    for place, job in enumerate(jobs):
        axes += [named_axes(job.form, f"x{place}"), *(None for _ in job.more)]
    shapes = (tuple(axes),) if any(axes) else None  # SideBySide takes all inputs under one name
    model = dynamo_program(SideBySide(jobs), inputs, opset=jobs[0].form.opset, shapes=shapes)
    sources = [value.name for value in model.graph.input]
    results = [value.name for value in model.graph.output]
    if len(sources) != len(inputs) or len(results) != sum(job.results for job in jobs):
        raise ValueError(f"{len(jobs)} modules became {len(sources)} inputs and {len(results)} outputs")
    models = []
    for job in jobs:
        takes = 1 + len(job.more)
        models.append(part(model, sources[:takes], results[: job.results]))
        sources, results = sources[takes:], results[job.results :]
    return models
