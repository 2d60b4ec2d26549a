"""Many modules exported in one call of the exporter, because most of a call's cost does not depend on the module.

The modules stand side by side in one wrapper, each with an input and an output of its own; what comes out is cut apart
again.  A test compares the parts with what single exports give, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch

from conformance.backends.canonical import part
from conformance.backends.exporters import dynamo_program, with_dynamo

Job = tuple[torch.nn.Module, torch.Tensor]
Outcome = onnx.ModelProto | Exception


class SideBySide(torch.nn.Module):
    """Independent modules: the k-th output depends on the k-th input alone."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(module(x) for module, x in zip(self.parts, inputs, strict=True))


def export_all(jobs: Sequence[Job]) -> list[Outcome]:
    """A model for each job, or the exception that its export ends in.

    When a call fails its jobs are halved until the one that cannot be exported stands alone; that one is exported by
    itself, so that its exception is the one that a user would see.
    """
    if not jobs:
        return []
    if len(jobs) == 1:
        try:
            return [with_dynamo(*jobs[0])]
        except Exception as error:  # noqa: BLE001 - the outcome of this job, for its caller to report
            return [error]
    try:
        return list(_together(jobs))
    except Exception:  # noqa: BLE001 - some job among these; the halves tell which
        middle = len(jobs) // 2
        return [*export_all(jobs[:middle]), *export_all(jobs[middle:])]


def _together(jobs: Sequence[Job]) -> list[onnx.ModelProto]:
    wrapper = SideBySide([module for module, _ in jobs])
    model = dynamo_program(wrapper, tuple(x for _, x in jobs))
    sources = [value.name for value in model.graph.input]
    results = [value.name for value in model.graph.output]
    if not len(sources) == len(results) == len(jobs):
        raise ValueError(f"{len(jobs)} modules became {len(sources)} inputs and {len(results)} outputs")
    return [part(model, source, result) for source, result in zip(sources, results, strict=True)]
