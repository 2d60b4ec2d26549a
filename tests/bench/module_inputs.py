"""Torch's own inputs for its normalisation layers: in the plain loop of torch's tests, and through conformance.

The plain loop runs a module forward and backward, does the same with a copy in float64, and compares output and
gradients with ``assert_close``.  Conformance runs the same configurations, and compares buffers and metadata too, each
element within an allowance of its own.  Run as ``python tests/bench/module_inputs.py``; torch's test inputs need the
package ``expecttest``.
"""

from __future__ import annotations

import copy
import inspect
import os
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import click
import msgspec
import torch
from torch.testing._internal.common_modules import module_db

from conformance.engine.bench import Bench, Teller
from conformance.engine.messages import Assignment
from conformance.engine.plan import Plan
from conformance.engine.run import How, run
from conformance.engine.store import Store
from conformance.engine.tools import standard
from conformance.ops import OPS
from conformance.ops.normalisation import NORMALISATION
from conformance.record import Header
from conformance.suite.case import Case, Origin
from conformance.suite.identity import key_of_case
from conformance.suite.loader import load_suite


def samples():
    """(torch.nn class, training, module input) of every normalisation layer."""
    layers = {op.name for op in NORMALISATION}
    for info in module_db:
        if info.module_cls.__name__ in layers:
            for training in (True, False):
                inputs = info.module_inputs_func(
                    info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
                )
                yield from ((info.module_cls, training, each) for each in inputs)


def case_of(number, cls, training, sample):
    """The same configuration as a case; None where the op does not take the shape."""
    made = sample.constructor_input
    signature = inspect.signature(cls)
    bound = signature.bind(*made.args, **made.kwargs).arguments
    given = {
        name: list(value) if isinstance(value, tuple) else value for name, value in bound.items() if name != "kwargs"
    }
    given |= bound.get("kwargs", {})
    shape = tuple(sample.forward_input.args[0].shape)
    try:
        args = OPS[cls.__name__].complete(OPS[cls.__name__].defaults() | given, shape)
    except (ValueError, IndexError, ZeroDivisionError):
        return None
    case = Case(
        id=f"module-inputs::{number}",
        key="",
        op=cls.__name__,
        args=args,
        shape=shape,
        steps=("train" if training else "eval",),
        origin=Origin("module_db", 1, 1),
    )
    return msgspec.structs.replace(case, key=key_of_case(case))


def plain(cls, training, sample):
    """As torch's tests do."""
    made = sample.constructor_input
    module = cls(*made.args, **made.kwargs).train(training)
    wide = copy.deepcopy(module).double()
    x = sample.forward_input.args[0].detach().clone().requires_grad_()
    x64 = x.detach().double().requires_grad_()
    y, y64 = module(x), wide(x64)
    g = torch.randn_like(y)
    y.backward(g)
    y64.backward(g.double())
    torch.testing.assert_close(y.double(), y64, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(x.grad.double(), x64.grad, rtol=1e-3, atol=1e-4)
    for p, p64 in zip(module.parameters(), wide.parameters(), strict=True):
        torch.testing.assert_close(p.grad.double(), p64.grad, rtol=1e-3, atol=1e-4)


class Way:
    """One way of running all samples, and its fastest round."""

    def __init__(self, name, function):
        self.name, self.run = name, function
        self.wall = self.cpu = float("inf")

    def round(self):
        wall, cpu = time.perf_counter(), time.process_time()
        self.run()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)

    def line(self, samples, plain):
        wall, cpu = (1000 * figure / samples for figure in (self.wall, self.cpu))
        return f"{self.name:<32}{1000 / wall:>11.0f}{wall:>11.2f}{cpu:>15.2f}{self.cpu / plain.cpu:>11.2f}"


def conformance_in_process(cases, divergences):
    """Runs all cases as a worker does, with what the caches of this moment are."""
    bench = Bench(["torch-cpu"], standard(), divergences, Teller())
    unit = [Assignment(case, ("torch-cpu",)) for case in cases]
    return lambda: list(bench.run(unit, prepare=False))


class Quiet:
    """Hears when a run begins and ends."""

    def began(self, header, done):
        self.start = time.perf_counter()

    def recorded(self, record):
        self.end = time.perf_counter()

    def noted(self, text):
        click.echo(f"note: {text}", err=True)


def rate_in_workers(cases, divergences, folder, workers):
    """Samples per second of a whole run, from its header to its last record."""
    watch = Quiet()
    plan = Plan(tuple(cases), ("torch-cpu",), divergences=divergences)
    run(plan, Store.create(folder), Header(), watch, How(workers=workers))
    return len(cases) / (watch.end - watch.start)


def repeated(cases, times):
    """The same configurations on other data, so that a run is long enough to be timed."""
    for seed in range(times):
        for case in cases:
            other = msgspec.structs.replace(case, id=f"{case.id}-{seed}", seed=seed, key="")
            yield msgspec.structs.replace(other, key=key_of_case(other))


@click.command()
@click.option("--rounds", default=7, metavar="N", help="The fastest of N rounds counts, all ways taking turns; 7.")
@click.option("--times", default=60, metavar="N", help="How often a run in workers repeats the samples; 60.")
@click.option("--workers", default=2, metavar="N", help="Worker processes of that run; 2.")
def main(rounds, times, workers):
    """Measure both on the same samples."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    every = list(samples())
    both = [(sample, case) for n, sample in enumerate(every) if (case := case_of(n, *sample)) is not None]
    cases, divergences = [case for _, case in both], load_suite().divergences
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        folder = Path(name)
        os.environ["CONFORMANCE_CACHE_DIR"] = str(folder / "cache")
        kept = conformance_in_process(cases, divergences)
        os.environ["CONFORMANCE_CACHE"] = "off"
        computed = conformance_in_process(cases, divergences)
        os.environ["CONFORMANCE_CACHE"] = "on"
        verdicts = Counter(record.verdict for record in kept())
        plain_loop = Way("plain loop", lambda: [plain(*sample) for sample, _ in both])
        ways = [plain_loop, Way("conformance", computed), Way("conformance, references kept", kept)]
        for _ in range(rounds):
            for way in ways:
                way.round()
        click.echo(
            f"{len(both)} of {len(every)} samples of {len({case.op for case in cases})} layers, float32, one thread"
        )
        click.echo(f"{'':<32}{'samples/s':>11}{'ms/sample':>11}{'cpu ms/sample':>15}{'cpu ratio':>11}")
        for way in ways:
            click.echo(way.line(len(both), plain_loop))
        many = list(repeated(cases, times))
        for what in ("references computed", "references kept"):
            rate = rate_in_workers(many, divergences, folder / what, workers)
            click.echo(f"{f'run, {workers} workers, {what}':<42}{rate:>9.0f} samples/s")
        click.echo("verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))


if __name__ == "__main__":
    main()
