"""From a key, an id, or the last run to the fault that is to be reproduced: the pair is run again, here and now."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance import __version__
from conformance.backends import NAMES
from conformance.backends import load as load_backend
from conformance.engine.plan import Plan
from conformance.engine.run import How, run
from conformance.engine.store import ROOT, Store, find, read_run
from conformance.engine.wish import Wish, check_backends, load, selected
from conformance.errors import ConformanceError, NothingSelected, UsageError
from conformance.inputs import make_inputs
from conformance.record import BAD, Figure, Header, Record
from conformance.repro.fault import Fault, Kind
from conformance.suite.case import Case, Divergence
from conformance.suite.suite import Suite

_LATEST = ROOT / "latest"
_WORST = float("inf")


def worst_of_latest(folder: Path = _LATEST) -> tuple[str, str, tuple[str, ...]]:
    """Key, backend and case files of the worst record of the last run: failures first, then what is known.

    Raises:
        ConformanceError: there is no run here, or nothing in it deviates.
    """
    stored = read_run(find(folder))
    paths = tuple(stored.header.extra.get("paths", ()))
    for verdicts in (BAD, frozenset({"known"})):
        found = [record for record in stored.records if record.verdict in verdicts]
        if found:
            worst = max(found, key=_badness)
            return worst.key, worst.backend, paths
    raise NothingSelected(
        "no record of the last run deviates", hint="name a case: conformance repro KEY --backend NAME"
    )


def _badness(record: Record) -> float:
    return max(
        (figure.budget if figure.budget is not None else _WORST for figure in record.figures if not figure.ok),
        default=0.0,
    )


def fault_of(name: str, backend: str, paths: Sequence[str] = ()) -> Fault:
    """The fault that a case shows on a backend, now.

    name: the key or the id of a case.

    Raises:
        UsageError: no such case or backend; the backend cannot run here, or runs what no script can hold.
        NothingSelected: the case shows no fault there.
    """
    check_backends((backend,))
    if backend not in NAMES:
        again = "".join(f"{shlex.quote(path)} " for path in paths)
        raise UsageError(
            f"a script holds code of torch and of onnxruntime, and none of {backend}",
            hint="run the case again under a debugger: "
            f"conformance run {again}--id {shlex.quote(name)} --backend {shlex.quote(backend)} --in-process",
        )
    suite = load(paths)
    cases = selected(suite, Wish(paths=tuple(paths), ids=(name,), backends=(backend,), slow=True)).cases
    if len(cases) != 1:
        raise UsageError(f"{name!r} names {len(cases)} cases", hint=f"name one, such as {cases[0].key}")
    return examined(cases[0], backend, suite)


def examined(case: Case, backend: str, suite: Suite, *, in_process: bool = False) -> Fault:
    """Run a pair in a worker process, which may die of it, and look at what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        done = run(
            Plan((case,), (backend,), {}, suite.divergences),
            Store.create(Path(folder)),
            Header(conformance=__version__, command="conformance repro"),
            _Silent(),
            How(workers=1, in_process=in_process),
        )
        record = next(iter(done.records))
    if record.verdict in ("pass", "fixed"):
        raise NothingSelected(f"{case.id} passes on {backend}: there is nothing to reproduce", hint=record.reason)
    if record.verdict in ("unsupported", "missing"):
        raise UsageError(f"{case.id} does not run on {backend}: {record.reason}")
    return _fault(case, backend, record, suite.divergences)


def _fault(case: Case, name: str, record: Record, divergences: Mapping[str, Divergence]) -> Fault:
    known = divergences.get(record.divergence.partition(",")[0])
    why = known.why if known is not None else ""
    inputs, backend = make_inputs(case), load_backend(name)
    bad = next((figure for figure in record.figures if not figure.ok), None)
    if bad is not None:
        kind: Kind = "structure" if _structural(bad) else "value"
        return Fault(case, inputs, backend, record, kind, figure=bad, why=why)
    if record.verdict in ("crash", "timeout") or "the worker died" in record.reason:
        return Fault(case, inputs, backend, record, "dies", why=why)
    raised = backend.run(case, inputs).raised
    if raised is None and case.raises is None:
        raise ConformanceError(f"{record.reason}; run again, it shows nothing", hint="it may depend on what ran before")
    return Fault(case, inputs, backend, record, "raises" if case.raises is None else "accepts", raised=raised, why=why)


def _structural(figure: Figure) -> bool:
    return figure.source == "structure"


class _Silent:
    """Nobody watches one pair."""

    def began(self, header: Header, done: int) -> None: ...

    def recorded(self, record: Record) -> None: ...

    def noted(self, text: str) -> None: ...
