"""``conformance.check``: a layer against the definition of an op, in three lines of a test."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conformance.backends.candidate.resolve import HELD, IMPORTING
from conformance.backends.candidate.spec import KINDS, Kind, Spec
from conformance.checking import session
from conformance.checking.session import Findings, Wanted, carry_out
from conformance.checking.wording import findings_text
from conformance.engine.store import Store
from conformance.errors import ConformanceError, NothingSelected, UsageError
from conformance.report.progress import Progress
from conformance.suite.problems import unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELD_SO_FAR = [0]


class CheckFailed(AssertionError):  # noqa: N818 - a finding, not an error
    """A layer does not compute what its definition says; the message is the report.  ``findings`` holds the figures."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings_text(findings))
        self.findings = findings


def check(
    candidate: Callable[..., Any] | str,
    *,
    like: str,
    kind: Kind | Literal[""] = "",
    map: Mapping[str, str] | None = None,  # noqa: A002 - the name of the option
    backward: Callable[..., Any] | None = None,
    only: Literal["", "forward"] = "",
    device: str = "cpu",
    quick: bool = False,
    keyword: str = "",
    dtypes: str | Sequence[str] = (),
    ids: str | Sequence[str] = (),
    case_files: str | Path | Sequence[str | Path] = (),
    slow: bool = False,
    strict: bool = False,
    workers: int | None = None,
    in_process: bool = False,
    case_seconds: float = 30.0,
    shrink_seconds: float = 15.0,
    save: str | Path | None = None,
) -> Findings:
    """Run every case of an op on a candidate; return the findings where it agrees everywhere.

    candidate: a torch.nn.Module class with torch's signature, a factory of such, a function
        ``(x, params, buffers, *, training, **args)``, a NumPy implementation, a torch.autograd.Function, an object with
        forward and backward; or its name, ``module:Class`` or ``path/to/file.py:Class``.
    like: the op, by its name in torch.nn.  kind: how the candidate is used, where looking at it does not tell.
    map: its own names of parameters and buffers to torch's, such as ``{"gamma": "weight"}``.
    backward: the gradient of a function on arrays, ``(grad_output, x, params, buffers, *, training, **args)``.
    only: "forward" leaves gradients alone.  quick: few cases, in which every value of every axis occurs.
    keyword, dtypes, ids: only these cases.  case_files: files or folders of cases, in place of those that are shipped.
        One may stand by itself, as in ``dtypes="float32"``.
    strict: the memory format of the output, and what torch refuses, count too.
    in_process: no worker processes; that happens by itself where no other process can import the candidate.
    save: the folder that takes the smallest failing cases, as case files.

    Raises:
        CheckFailed: an AssertionError, where a case fails; its message is the report.
        UsageError: the candidate cannot be used as it is; the message says what to write.
        NothingSelected: no case was checked.
    """
    __tracebackhide__ = True
    if IMPORTING:  # a worker imports the script that started it: without this, it would start workers for ever
        raise UsageError(
            f"check is called while {IMPORTING[-1]} is imported, for the candidate in it",
            hint='call it below: if __name__ == "__main__":, or in a test function',
        )
    if kind and kind not in KINDS:
        raise UsageError(unknown("kind", kind, KINDS))
    with _named(candidate) as (target, here), _named(backward) as (gradient, gradient_here):
        spec = Spec(
            target=target,
            like=like,
            kind=kind,
            names=dict(map or {}),
            device=device,
            backward=gradient,
            forward_only=only == "forward",
        )
        wanted = Wanted(
            spec=spec,
            paths=_each(case_files),
            keyword=keyword,
            dtypes=_each(dtypes),
            ids=_each(ids),
            slow=slow,
            quick=quick,
            strict=strict,
            workers=workers,
            here="as asked" if in_process else here or gradient_here,
            case_seconds=case_seconds,
            shrink_seconds=shrink_seconds,
            save=Path(save) if save is not None else None,
            command="conformance.check",
            tools=session.TOOLS,
        )
        try:
            findings = _carried_out(wanted)
        except ConformanceError as error:  # a test that fails of it shows the message, and not where we noticed
            raise error.with_traceback(None) from None
    if findings.failures:
        raise CheckFailed(findings)
    if not findings.checked:
        raise NothingSelected("nothing was checked", hint=findings_text(findings))
    return findings


def _each(given: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """One or several, as several."""
    return (str(given),) if isinstance(given, str | Path) else tuple(map(str, given))


def _carried_out(wanted: Wanted) -> Findings:
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="conformance-check-") as folder:
        try:
            return carry_out(wanted, Store.create(Path(folder)), progress)
        finally:
            progress.close()


@contextmanager
def _named(candidate: Callable[..., Any] | str | None) -> Iterator[tuple[str, str]]:
    """A target under which a candidate can be found, and why only this process can find it."""
    if candidate is None or isinstance(candidate, str):
        yield candidate or "", ""
        return
    target, why = importable(candidate)
    if target:
        yield target, ""
        return
    _HELD_SO_FAR[0] += 1
    name = getattr(candidate, "__qualname__", type(candidate).__qualname__)
    held = f"@{_HELD_SO_FAR[0]}:{name}"
    HELD[held] = candidate
    try:
        yield held, why
    finally:
        del HELD[held]


def importable(candidate: Any) -> tuple[str, str]:
    """The target under which another process finds an object, or "" and why none does."""
    name, home = getattr(candidate, "__qualname__", ""), getattr(candidate, "__module__", "")
    if not name or not home:
        return "", f"{candidate!r} has no name under which a worker process could import it"
    if "<" in name:
        return "", f"{name} is not at the top of a module, so no worker process can import it"
    module = sys.modules.get(home)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not candidate:
        return "", f"{home}.{name} is another object by now, so no worker process can import this one"
    file = getattr(module, "__file__", None)
    if _by_name(home, file):
        return f"{home}:{name}", ""
    if file and Path(file).suffix == ".py":
        return f"{Path(file).resolve()}:{name}", ""
    return "", f"{home} is no file, so no worker process can import {name}"


def _by_name(home: str, file: str | None) -> bool:
    """Whether a fresh interpreter with our sys.path finds this very module under its name."""
    if home == "__main__" or not file:
        return False
    last = Path(file).stem if Path(file).name != "__init__.py" else Path(file).parent.name
    if home.rpartition(".")[2] != last:
        return False
    from importlib.machinery import PathFinder

    places: Any = None
    spec = None
    for part in home.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return False
        places = spec.submodule_search_locations
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == Path(file).resolve()
