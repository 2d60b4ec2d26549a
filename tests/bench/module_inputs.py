"""Torch's own inputs for its normalisation layers: in the plain loop of torch's tests, and through conformance.

The plain loop runs a module forward and backward, does the same with a copy in float64, and compares output and
gradients with ``assert_close``.  Conformance runs the same configurations, and compares buffers and metadata too, each
element within an allowance of its own.  Run as ``python tests/bench/module_inputs.py``; torch's test inputs need the
package ``expecttest``.
"""

from __future__ import annotations

import copy
import inspect
import time
import warnings
from collections import Counter

import click
import msgspec
import torch
from torch.testing._internal.common_modules import module_db

from conformance.engine.bench import Bench, Teller
from conformance.engine.messages import Assignment
from conformance.engine.tools import standard
from conformance.ops import OPS
from conformance.ops.normalisation import NORMALISATION
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


def seconds(function, rounds):
    """Of the wall and of the processor, the fastest round."""
    taken = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(taken)[0], min(cpu for _, cpu in taken)


@click.command()
@click.option("--rounds", default=5, metavar="N", help="The fastest of N rounds counts; 5.")
def main(rounds):
    """Measure both on the same samples."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    every = list(samples())
    both = [(sample, case) for n, sample in enumerate(every) if (case := case_of(n, *sample)) is not None]
    bench = Bench(["torch-cpu"], standard(), load_suite().divergences, Teller())
    unit = [Assignment(case, ("torch-cpu",)) for _, case in both]
    verdicts = Counter(record.verdict for record in bench.run(unit, prepare=True))
    wall, cpu = seconds(lambda: [plain(*sample) for sample, _ in both], rounds)
    click.echo(
        f"{len(both)} of {len(every)} samples of {len({case.op for _, case in both})} layers, float32, one thread"
    )
    click.echo(f"{'':<14}{'samples/s':>11}{'ms/sample':>11}{'cpu ms/sample':>15}")
    for name, taken in (
        ("plain loop", (wall, cpu)),
        ("conformance", seconds(lambda: list(bench.run(unit, prepare=False)), rounds)),
    ):
        each = [1000 * figure / len(both) for figure in taken]
        click.echo(f"{name:<14}{1000 / each[0]:>11.0f}{each[0]:>11.2f}{each[1]:>15.2f}")
    click.echo("verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))


if __name__ == "__main__":
    main()
