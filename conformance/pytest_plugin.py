"""Case files as pytest tests: one item per case and backend, at the line of the case file that made it.

    pytest cases/ -p conformance.pytest_plugin

The plugin does nothing unless it is asked for: by ``-p``, by ``--conformance``, or by ``conformance = true`` in the
ini file.  It runs cases in the process of pytest, so a kernel that crashes takes that process along; with ``-n`` of
pytest-xdist that is a worker, without it use ``conformance run``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.errors import ConformanceError, NothingSelected
from conformance.record import BAD

if TYPE_CHECKING:
    from conformance.engine.execute import Seat, SharedCase, Tools
    from conformance.engine.wish import Wish
    from conformance.record import Record
    from conformance.suite.case import Case, Divergence

NAME = "conformance.pytest_plugin"
SUFFIXES = (".yaml", ".yml")
PREPARED_AT_ONCE = 48

_LAB = pytest.StashKey["Lab"]()
_LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "conformance of neural-network layers")
    group.addoption("--conformance", action="store_true", help="collect case files (*.yaml)")
    group.addoption(
        "--conformance-backend", action="append", default=[], metavar="NAME", help="run on this backend; repeatable"
    )
    group.addoption("--conformance-slow", action="store_true", help="collect slow cases too")
    group.addoption(
        "--conformance-exports",
        choices=("sample", "all"),
        default="sample",
        help="which cases go to onnx-dynamo: a pairwise sample, or all",
    )
    group.addoption("--conformance-tools", default="conformance.engine.tools:standard", help="what executes the cases")
    parser.addini("conformance", "collect case files (*.yaml)", type="bool", default=False)


def _asked_for(config: pytest.Config) -> bool:
    return bool(config.getoption("conformance") or config.getini("conformance") or NAME in config.getoption("plugins"))


def pytest_report_header(config: pytest.Config) -> str | None:
    if not _asked_for(config):
        return None
    from conformance import __version__

    return f"conformance: {__version__}, backends {', '.join(_wish(config).backends)}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix not in SUFFIXES or not _asked_for(parent.config):
        return None
    named = parent.session.isinitpath(file_path)
    if not named and not _looks_like_cases(file_path):
        return None
    collector: pytest.Collector = CaseFileCollector.from_parent(parent, path=file_path)
    return collector


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for backend, count in config.stash.get(_LEFT_OUT, {}).items():
        terminalreporter.write_line(
            f"{count:,} cases were not sent to {backend}, which gets a sample (all: --conformance-exports=all)"
        )


def _looks_like_cases(file: Path) -> bool:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.startswith("spec:") for line in lines) and any(line.startswith("op:") for line in lines)


def _wish(config: pytest.Config, path: Path | None = None) -> Wish:
    from conformance.engine.wish import DEFAULT_BACKENDS, Wish

    return Wish(
        paths=(str(path),) if path else (),
        slow=config.getoption("conformance_slow"),
        backends=tuple(config.getoption("conformance_backend")) or DEFAULT_BACKENDS,
        exports=config.getoption("conformance_exports"),
    )


class CaseFileCollector(pytest.File):
    """A case file.  Its one child bears the first half of the ids, so that node ids end in the id of the case."""

    def collect(self) -> Iterator[pytest.Collector]:
        from conformance.engine.wish import grant

        try:
            granted = grant(_wish(self.config, self.path))
        except NothingSelected:
            return
        except ConformanceError as error:
            raise self.CollectError(str(error)) from None
        left_out = self.config.stash.setdefault(_LEFT_OUT, {})
        for backend, count in granted.plan.left_out.items():
            left_out[backend] = left_out.get(backend, 0) + count
        yield CasesCollector.from_parent(self, name=self.path.stem, granted=granted)


class CasesCollector(pytest.Collector):
    """The cases of a file."""

    def __init__(self, *, granted: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._plan = granted.plan

    def collect(self) -> Iterator[pytest.Item]:
        for number, backend in self._plan.pairs:
            case = self._plan.cases[number]
            name = f"{case.id.partition('::')[2]}[{backend}]"
            yield CaseItem.from_parent(
                self,
                name=name,
                nodeid=f"{self.nodeid}::{name}",  # as text, so that pytest reads it as it reads its cache of failures
                case=case,
                backend=backend,
                divergences=self._plan.divergences,
            )


class ConformanceFailure(Exception):  # noqa: N818 - a finding, not an error
    """A record that makes its test fail."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.reason)
        self.record = record


class CaseItem(pytest.Item):
    """One case on one backend."""

    def __init__(self, *, case: Case, backend: str, divergences: Mapping[str, Divergence], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case
        self.backend = backend
        self.divergences = divergences

    def runtest(self) -> None:
        """Execute the case, and say its verdict in pytest's words."""
        record = _lab(self.config).run(self)
        self.user_properties.append(("verdict", record.verdict))
        if record.figures and record.figures[0].budget is not None:
            self.user_properties.append(("budget", record.figures[0].budget))
        if record.verdict in BAD:
            raise ConformanceFailure(record)
        if record.verdict in ("unsupported", "missing"):
            pytest.skip(f"{record.verdict}: {record.reason}")
        if record.verdict == "known":
            pytest.xfail(f"known divergence {record.divergence}: {record.reason}")
        if record.verdict == "fixed":
            self.add_report_section("call", "conformance", record.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The same text as in the report of ``conformance run``."""
        if isinstance(excinfo.value, ConformanceFailure):
            from conformance.report.wording import failure_text

            return failure_text(excinfo.value.record, [_shown(self.path, self.config)])
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The line of the case file, counted from 0."""
        return self.path, self.case.origin.line - 1, f"{self.case.id}[{self.backend}]"


def _shown(path: Path, config: pytest.Config) -> str:
    here = config.invocation_params.dir
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _lab(config: pytest.Config) -> Lab:
    if _LAB not in config.stash:
        config.stash[_LAB] = Lab(config.getoption("conformance_tools"), batches=not hasattr(config, "workerinput"))
    return config.stash[_LAB]


class Lab:
    """Backends as they are first needed, and the case that is being run with what its backends share."""

    def __init__(self, tools: str, *, batches: bool) -> None:
        from conformance.engine.execute import tools_from

        self._tools: Tools = tools_from(tools)
        self._batches = batches
        self._seats: dict[str, Seat] = {}
        self._shared: SharedCase | None = None
        self._prepared: set[tuple[str, str]] = set()

    def run(self, item: CaseItem) -> Record:
        """The record of an item."""
        from conformance.engine.execute import SharedCase, execute, take_seat
        from conformance.engine.runtime import applicable, surroundings

        if item.backend not in self._seats:
            self._seats[item.backend] = take_seat(item.backend, self._tools)
        seat = self._seats[item.backend]
        if self._batches:
            self._prepare(item, seat)
        if self._shared is None or self._shared.case != item.case:
            self._shared = SharedCase(item.case, self._tools)
        declared = applicable(item.case, item.divergences, surroundings(seat.name, seat.versions))
        return execute(self._shared, seat, self._tools, {each.id: each for each in declared})

    def _prepare(self, item: CaseItem, seat: Seat) -> None:
        """Prepare this item together with those after it; under xdist nobody knows which will come here."""
        if seat.backend is None or (seat.name, item.case.key) in self._prepared:
            return
        items = item.session.items
        coming = (
            other.case
            for other in items[items.index(item) :]
            if isinstance(other, CaseItem) and other.backend == seat.name and other.case.op == item.case.op
        )
        cases: list[Case] = []
        for case in coming:
            if len(cases) == PREPARED_AT_ONCE:
                break
            self._prepared.add((seat.name, case.key))
            if seat.backend.unsupported(case) is None:
                cases.append(case)
        if len(cases) > 1:
            try:
                seat.backend.prepare(cases)
            except Exception as error:  # noqa: BLE001 - each case then prepares itself, and fails in its own name
                item.warn(pytest.PytestWarning(f"{seat.name} could not prepare {len(cases)} cases: {error}"))
