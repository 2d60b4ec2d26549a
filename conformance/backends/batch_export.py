"""Many modules exported in one call of the exporter, because most of a call's cost does not depend on the module.

The modules stand side by side in one wrapper, each with inputs and outputs of its own; what comes out is cut apart
again.  A test compares the parts with what single exports give, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import torch

from conformance.backends.call_costs import many_together, one_registry
from conformance.backends.canonical import Parts, canonical
from conformance.backends.exporters import dynamo_program, open_axes, optimised, uncollected, with_dynamo
from conformance.backends.form import PLAIN, Form

Outcome = onnx.ModelProto | Exception

_FEW = 5  # so many failures cost less than a call of several that fails


@dataclass(frozen=True, slots=True)
class Job:
    """A module in the mode in which it is to be exported, example inputs, and what kind of thing it is.

    Most modules take ``x`` alone and return one tensor; others take ``more`` after it, or return a tuple of
    ``results`` tensors.  Where the form leaves axes of x open, so are those of the first ``alike`` of the others, which
    have its shape, or of the first those that are ``following``; whatever else a module takes has fixed sizes.
    """

    kind: str
    module: torch.nn.Module
    x: torch.Tensor
    more: tuple[torch.Tensor, ...] = ()
    results: int = 1
    form: Form = PLAIN
    alike: int = 0
    following: tuple[int, ...] = ()


class BrokenParts(Exception):  # noqa: N818 - seen by nobody but this module
    """The modules in these places raise."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = tuple(places)


class SideBySide(torch.nn.Module):
    """Independent modules: the outputs of each depend on its own inputs alone, and stand together in its place.

    A module that raises does not keep the others from being tried.

    Raises:
        BrokenParts: some of them raise.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList([job.module for job in jobs])
        self.takes = [1 + len(job.more) for job in jobs]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: list[torch.Tensor] = []
        broken: list[int] = []
        rest = inputs
        for place, (module, takes) in enumerate(zip(self.parts, self.takes, strict=True)):
            given, rest = rest[:takes], rest[takes:]
            try:
                made = module(*given)
            except Exception:  # noqa: BLE001 - said below, when all were tried
                broken.append(place)
                continue
            outputs += [made] if isinstance(made, torch.Tensor) else made
        if broken:
            raise BrokenParts(broken)
        return tuple(outputs)


class BatchExport:
    """Exports many modules in few calls.

    When a call fails, the jobs that broke it are exported by themselves, so that their exceptions are those that a user
    would see, and the others together again; where nobody can say which broke it, halves of it are tried.  The first
    exception of each kind of module is remembered: what is of the same kind, and breaks a call too, ends in the same.
    """

    def __init__(self) -> None:
        self._refused: dict[str, Exception] = {}

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        """A model for each job, or the exception that its export ends in."""
        outcomes: dict[int, Outcome] = {}
        by_opset: dict[int | None, dict[int, Job]] = {}  # a call has one opset
        for place, job in enumerate(jobs):
            if job.form.dynamic and job.more:
                outcomes[place] = self._alone(job)  # in which order some nodes stand follows from the names of sizes
                continue
            by_opset.setdefault(job.form.opset, {})[place] = job
        for alike in by_opset.values():
            suspects = {place: job for place, job in alike.items() if job.kind in self._refused}
            # not among the others, whose call they would probably spoil
            self._export(suspects, outcomes, suspect=True)
            self._export({place: job for place, job in alike.items() if place not in suspects}, outcomes)
        return [outcomes[place] for place in range(len(jobs))]

    def _export(self, jobs: dict[int, Job], outcomes: dict[int, Outcome], *, suspect: bool = False) -> None:
        if len(jobs) < 2 or (suspect and len(jobs) < _FEW):  # there is nobody to share a call with, or it would fail
            for place, job in jobs.items():
                outcomes[place] = self._alone(job)
            return
        places = list(jobs)
        try:
            with uncollected(), many_together():
                models = _together([jobs[place] for place in places])
        except Exception as error:  # noqa: BLE001 - some job among these; either the error or the halves tell which
            broken = [places[each] for each in _broken(error)]
            for place in broken:
                known = self._refused.get(jobs[place].kind)
                outcomes[place] = self._alone(jobs[place]) if known is None else known
            middle = len(places) // 2
            for rest in (places,) if broken else (places[:middle], places[middle:]):
                self._export({place: jobs[place] for place in rest if place not in broken}, outcomes)
        else:
            outcomes.update(zip(places, models, strict=True))

    def _alone(self, job: Job) -> Outcome:
        try:
            with one_registry():
                return with_dynamo(job.module, job.x, job.form, job.more, job.alike, job.following)
        except Exception as error:  # noqa: BLE001 - the outcome of this job, for its caller to report
            self._refused[job.kind] = error
            return error


def _together(jobs: Sequence[Job]) -> list[onnx.ModelProto]:
    inputs = tuple(tensor for job in jobs for tensor in (job.x, *job.more))
    axes = [
        each
        for place, job in enumerate(jobs)
        for each in open_axes(job.form, f"x{place}", len(job.more), job.alike, job.following)
    ]
    shapes = (tuple(axes),) if any(axes) else None  # SideBySide takes all inputs under one name
    model = dynamo_program(SideBySide(jobs), inputs, opset=jobs[0].form.opset, shapes=shapes, optimise=False)
    # each is optimised by itself: that of many together takes more than linear time
    return [canonical(optimised(each)) for each in _cut(model, jobs)]


def _broken(error: BaseException | None) -> tuple[int, ...]:
    """The places that an exporter's exception speaks of, however deep inside."""
    while error is not None:
        if isinstance(error, BrokenParts):
            return error.places
        error = error.__cause__ or error.__context__
    return ()


def _cut(model: onnx.ModelProto, jobs: Sequence[Job]) -> list[onnx.ModelProto]:
    sources = [value.name for value in model.graph.input]
    results = [value.name for value in model.graph.output]
    takes = [1 + len(job.more) for job in jobs]
    if len(sources) != sum(takes) or len(results) != sum(job.results for job in jobs):
        raise ValueError(f"{len(jobs)} modules became {len(sources)} inputs and {len(results)} outputs")
    models, parts = [], Parts(model)
    for job, taken in zip(jobs, takes, strict=True):
        models.append(parts.cut(sources[:taken], results[: job.results]))
        sources, results = sources[taken:], results[job.results :]
    return models
