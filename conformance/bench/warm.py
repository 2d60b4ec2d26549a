"""Where the time of an ONNX run goes whose exports are all in the cache.

Run as ``python -m conformance.bench.warm``, on a machine that does nothing else.  Each part is the time between its
beginning and its end, without the parts that it calls; by the clock on the wall, since the clock of the processor takes
longer to read than many a part.  The cache is one of its own, filled first in worker processes, as by a run, so that a
case that ends the process ends none of this.  Inputs count as outside of what the goal allows: onnxruntime, references
and comparison.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from conformance.engine.bench import Bench, Teller
from conformance.engine.execute import Tools
from conformance.engine.messages import Assignment
from conformance.engine.schedule import LARGEST_UNIT
from conformance.engine.tools import standard
from conformance.record import Record
from conformance.suite.case import Case, Divergence
from conformance.suite.loader import load_suite

BACKENDS = ("onnx-dynamo", "onnx-script", "onnx-step", "onnx-training")  # all that run under onnxruntime
UNIT = LARGEST_UNIT  # cases that a worker is given at once
INSIDE = ("onnxruntime", "reference", "comparison")
_WORDS = {
    "onnxruntime": "creating sessions, running and ending them",
    "reference": "values and error scales",
    "comparison": "verdicts and figures",
    "inputs": "parameters, buffers, data and upstream gradients",
    "graphs": "finding, reading and binding them, and copies of arrays",
    "rest": "records, conditions of divergences, everything else",
}


class Meter:
    """Seconds by part; what one part calls of another counts for the other, and what the meter costs for none."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]
        self._cost = 0.0
        self._cost = min(self._cost_of(1_000) for _ in range(20))

    def _cost_of(self, calls: int) -> float:
        """Seconds by which one metered call more lengthens the part that it is called from."""
        metered = self("nothing", lambda: None)
        start = perf_counter()
        for _ in range(calls):
            metered()
        return (perf_counter() - start - self.spent.pop("nothing")) / calls

    def __call__(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                took = perf_counter() - start
                self.spent[part] += took - self._inner.pop()
                self._inner[-1] += took + self._cost

        return metered


def metered_tools(meter: Meter) -> Tools:
    """The tools of a real run, with a clock on each part."""
    tools = standard()
    compare = meter("comparison", tools.judge)

    def load(name: str) -> Any:
        backend: Any = tools.load(name)
        backend.run = meter("graphs", backend.run)
        backend.prepare = meter("graphs", backend.prepare)
        return backend

    def judge(case: Any, expectation: Any, *others: Any) -> Any:
        if case.raises is None:
            meter("reference", expectation.steps)()  # the judge then finds it computed
        return compare(case, expectation, *others)

    return replace(tools, load=load, make_inputs=meter("inputs", tools.make_inputs), judge=judge)


class Timed:
    """A session with a clock on its runs and on its end, which the runtime takes its time for."""

    def __init__(self, meter: Meter, runtime: Any) -> None:
        self._meter = meter
        self.run = meter("onnxruntime", runtime.run)
        self.run_with_ort_values = meter("onnxruntime", runtime.run_with_ort_values)

    def __del__(self) -> None:
        self._meter("onnxruntime", self.__dict__.clear)()


def meter_onnxruntime(meter: Meter) -> Callable[[], None]:
    """Put a clock on sessions, from their creation to their end; the function that is returned takes it off."""
    from conformance.backends import onnxruntime_session as sessions

    plain = sessions.load_bytes
    create = meter("onnxruntime", plain)

    def load(model: bytes, *, optimise: bool = True) -> sessions.Loaded:
        made = create(model, optimise=optimise)
        return sessions.Loaded(Timed(meter, made.runtime), made.takes, made.plain)

    sessions.load_bytes = load
    return lambda: setattr(sessions, "load_bytes", plain)


def warm(
    cases: Sequence[Case], divergences: Mapping[str, Divergence], names: Sequence[str]
) -> tuple[dict[str, float], list[Record]]:
    """Seconds by part, and the records, of a run in this process whose cache is full."""
    meter = Meter()
    restore = meter_onnxruntime(meter)
    try:
        bench = Bench(names, metered_tools(meter), divergences, Teller())

        def everything() -> list[Record]:
            found: list[Record] = []
            for first in range(0, len(cases), UNIT):
                unit = [Assignment(case, tuple(names)) for case in cases[first : first + UNIT]]
                found += bench.run(unit, prepare=True)
            return found

        records = meter("rest", everything)()
    finally:
        restore()
    return dict(meter.spent), records


def fill(folder: Path, names: Sequence[str], cases: Sequence[Case]) -> list[Record]:
    """The records of a run in worker processes over a cache in this folder."""
    from conformance.engine.store import read_run

    wanted = [option for name in names for option in ("--backend", name)]
    wanted += [option for case in cases for option in ("--key", case.key)]
    command = [sys.executable, "-m", "conformance", "run", "--exports", "all", *wanted, "--format", "json"]
    environment = {**os.environ, "CONFORMANCE_CACHE_DIR": str(folder)}
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own
    return list(read_run(folder / ".conformance" / "latest").records)


def deadly(records: Sequence[Record], divergences: Mapping[str, Divergence]) -> set[str]:
    """The keys of the cases that would end this process, or not end; a death may be a declared one."""
    signals = {name for name, each in divergences.items() if each.raises and each.raises.type.startswith("SIG")}
    return {each.key for each in records if each.verdict in ("crash", "timeout") or each.divergence in signals}


def every_nth_unit(cases: Sequence[Case], every: int) -> list[Case]:
    """Whole units, as a worker is given them, from the whole of the suite."""
    return [case for first in range(0, len(cases), UNIT * every) for case in cases[first : first + UNIT]]


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), metavar="FOLDER", help="A cache to fill, or a full one.")
@click.option("--backend", "names", multiple=True, default=BACKENDS, metavar="NAME", help="Only this; may be repeated.")
@click.option("--every", default=1, metavar="N", help="Only every Nth unit of cases of the suite; 1.")
def main(cache: Path | None, names: tuple[str, ...], every: int) -> None:
    """Measure a run whose exports are all in the cache."""
    suite = load_suite()
    cases = every_nth_unit([case for case in suite.cases if "slow" not in case.marks], every)
    with tempfile.TemporaryDirectory(prefix="conformance-warm-") as own:
        folder = cache or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        left_out = deadly(fill(folder, names, cases), suite.divergences)
        os.environ["CONFORMANCE_CACHE_DIR"] = str(folder)
        cases = [case for case in cases if case.key not in left_out]
        warm(cases[:UNIT], suite.divergences, names)  # imports
        spent, records = warm(cases, suite.divergences, names)
    total = sum(spent.values())
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in Counter(r.verdict for r in records).most_common())
    click.echo(f"{', '.join(names)}: {len(cases):,} cases, {len(records):,} records: {verdicts}")
    click.echo(f"torch was {'' if 'torch' in sys.modules else 'not '}imported")
    for part, words in _WORDS.items():
        share = spent.get(part, 0.0)
        click.echo(f"{part:<14}{share:8.2f} s {share / total:7.1%}   {words}")
    outside = total - sum(spent.get(part, 0.0) for part in INSIDE)
    goal = "goal: under 10 %"
    click.echo(f"outside of {', '.join(INSIDE)}: {outside / total:.1%} ({goal})")


if __name__ == "__main__":
    main()
