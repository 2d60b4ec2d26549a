"""Many modules exported in one call of the exporter, because most of a call's cost does not depend on the module.

The modules stand side by side in one wrapper, each with an input and an output of its own; what comes out is cut apart
again.  A test compares the parts with what single exports give, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import torch

from conformance.backends.canonical import part
from conformance.backends.exporters import dynamo_program, with_dynamo

Outcome = onnx.ModelProto | Exception


@dataclass(frozen=True, slots=True)
class Job:
    """A module in the mode in which it is to be exported, an example input, and what kind of thing it is."""

    kind: str
    module: torch.nn.Module
    x: torch.Tensor


class SideBySide(torch.nn.Module):
    """Independent modules: the k-th output depends on the k-th input alone."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(module(x) for module, x in zip(self.parts, inputs, strict=True))


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
        self._export(dict(enumerate(jobs)), outcomes)
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
            return with_dynamo(job.module, job.x)
        except Exception as error:  # noqa: BLE001 - the outcome of this job, for its caller to report
            self._suspects.add(job.kind)
            return error


def _together(jobs: Sequence[Job]) -> list[onnx.ModelProto]:
    wrapper = SideBySide([job.module for job in jobs])
    model = dynamo_program(wrapper, tuple(job.x for job in jobs))
    sources = [value.name for value in model.graph.input]
    results = [value.name for value in model.graph.output]
    if not len(sources) == len(results) == len(jobs):
        raise ValueError(f"{len(jobs)} modules became {len(sources)} inputs and {len(results)} outputs")
    return [part(model, source, result) for source, result in zip(sources, results, strict=True)]
