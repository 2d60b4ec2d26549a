"""Exports per second on one core: many in one call with shared graphs, beside one call for each step of each case.

Run as ``python -m conformance.bench.exports``.  The cache on disk is neither read nor written.  Seconds are
those of the processor, so that a busy machine does not change the figures much; wall seconds stand beside them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import click

from conformance.backends.batch_export import BatchExport
from conformance.backends.exporters import with_dynamo
from conformance.backends.models import Models
from conformance.backends.onnx_module import OnnxModule
from conformance.backends.planned import Planned
from conformance.backends.planning import plan
from conformance.backends.tensors import to_tensor
from conformance.bench.warm import UNIT, every_nth_unit
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.suite.case import Case
from conformance.suite.loader import load_suite
from conformance.suite.sample import export_sample


class Clock(NamedTuple):
    """A moment, by the processor and by the wall."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> Clock:
        return cls(time.process_time(), time.perf_counter())

    def since(self) -> Clock:
        now = Clock.now()
        return Clock(now.cpu - self.cpu, now.wall - self.wall)


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of exporting: graphs made or refused, the steps of cases that they serve, and the time."""

    name: str
    graphs: int
    steps: int
    took: Clock

    def line(self) -> str:
        return (
            f"{self.name:<18}{self.graphs:>8,}{self.steps:>8,}{self.took.cpu:>10.1f}{self.took.wall:>10.1f}"
            f"{self.graphs / self.took.cpu:>14.1f}{self.steps / self.took.cpu:>14.1f}"
        )


class CountingExport(BatchExport):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def __call__(self, jobs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 - that of the base class
        self.asked += len(jobs)
        return super().__call__(jobs)


def steps_of(cases: Sequence[Case]) -> Iterator[Planned]:
    """Every step that torch can plan."""
    for case in cases:
        try:
            yield from plan(case, make_inputs(case))
        except Unsupported:
            continue


def together(cases: Sequence[Case]) -> Measured:
    """As a run exports: unit by unit, and what is alike once."""
    export = CountingExport()
    backend = OnnxModule("bench", with_dynamo, export, Models())
    steps = sum(1 for _ in steps_of(cases))
    start = Clock.now()
    for first in range(0, len(cases), UNIT):
        backend.prepare(cases[first : first + UNIT])
    return Measured("together", export.asked, steps, start.since())


def one_at_a_time(planned: Sequence[Planned]) -> Measured:
    """As a loop over ``torch.onnx.export`` does."""
    start = Clock.now()
    for each in planned:
        try:
            with_dynamo(each.module, to_tensor(each.example), each.form)
        except Exception:  # noqa: BLE001, S112 - a refusal takes its time as well
            continue
    return Measured("one at a time", len(planned), len(planned), start.since())


@click.command()
@click.option("--sample", is_flag=True, help="Not every case, only those that a run exports by default.")
@click.option("--every", default=1, metavar="N", help="Only every Nth unit of cases of the suite; 1.")
@click.option("--alone", default=24, metavar="N", help="Steps for the loop, evenly from all; 24.")
def main(sample: bool, every: int, alone: int) -> None:  # noqa: FBT001 - click passes flags by name
    """Measure the exports of the shipped suite."""
    backend = OnnxModule("bench", with_dynamo, None, Models())
    suite = load_suite().cases
    cases = [
        case
        for case in (export_sample(suite) if sample else suite)
        if "slow" not in case.marks and backend.unsupported(case) is None
    ]
    cases = every_nth_unit(cases, every)
    planned = list(steps_of(cases))
    chosen = planned[:: max(1, len(planned) // alone)][:alone]
    one_at_a_time(chosen[:1])  # the first call of a process imports the exporter
    loop = one_at_a_time(chosen[: alone // 2])
    joint = together(cases)
    again = one_at_a_time(chosen[alone // 2 :])  # before and after, for what changes on the machine meanwhile
    took = Clock(loop.took.cpu + again.took.cpu, loop.took.wall + again.took.wall)
    loop = Measured(loop.name, loop.graphs + again.graphs, loop.steps + again.steps, took)
    click.echo(f"{len(cases):,} cases of the shipped suite")
    click.echo(f"{'':<18}{'graphs':>8}{'steps':>8}{'cpu s':>10}{'wall s':>10}{'graphs/cpu s':>14}{'steps/cpu s':>14}")
    click.echo(loop.line())
    click.echo(joint.line())
    graphs = joint.graphs / joint.took.cpu / (loop.graphs / loop.took.cpu)
    steps = joint.steps / joint.took.cpu / (loop.steps / loop.took.cpu)
    click.echo(f"together is {graphs:.1f} times as fast by graphs, {steps:.1f} times by steps of cases")


if __name__ == "__main__":
    main()
