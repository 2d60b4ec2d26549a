"""One check from wish to findings: which cases, where they run, what fails, and the smallest case of each failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec

from conformance import __version__
from conformance.backends.candidate.spec import USAGE as UNUSABLE
from conformance.backends.candidate.spec import Spec
from conformance.checking.found import save
from conformance.checking.quick import quick_set
from conformance.checking.remarks import USAGE, decisive, remarks_of, strict_record_figures
from conformance.checking.shrink import Shrunk, Symptom, plainness, shrink, symptom_of
from conformance.checking.trials import CrewTrials, HereTrials
from conformance.engine.crew import Crew
from conformance.engine.limits import Limits, default_workers
from conformance.engine.plan import Plan
from conformance.engine.run import How, Listener, run
from conformance.engine.runtime import applicable, surroundings
from conformance.engine.schedule import Schedule
from conformance.engine.store import Store, StoredRun
from conformance.engine.wish import Wish, load, selected
from conformance.errors import InternalError, UsageError
from conformance.ops import OPS
from conformance.record import BAD, VERDICTS, Cause, Figure, Header, Record
from conformance.suite.case import Case
from conformance.suite.problems import unknown
from conformance.suite.suite import Suite

TOOLS = "conformance.checking.judging:tools"
QUICK_TOOLS = "conformance.checking.judging:quick_tools"
TRIAL_TOOLS = "conformance.checking.judging:trial_tools"
TORCH = "torch-cpu"
QUICK_SHRINK = 1.5  # seconds for the smallest cases of a quick check
TRIAL_SECONDS = 10.0  # that a smaller case may take
SHRUNK = 3  # groups of failures of which the smallest case is sought


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be checked, and how.

    strict: torch's manners (memory format, refusals) count as failures.  here: why the candidate runs in this process.
    shrink_seconds: for the smallest failing cases, all together; 0: they are not sought.
    save: the folder that takes them.
    """

    spec: Spec
    paths: tuple[str, ...] = ()
    keyword: str = ""
    dtypes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    slow: bool = False
    quick: bool = False
    strict: bool = False
    workers: int | None = None
    here: str = ""
    case_seconds: float = 30.0
    memory: int | None = None
    shrink_seconds: float = 15.0
    save: Path | None = None
    command: str = ""
    tools: str = TOOLS

    @property
    def search_tools(self) -> str:
        """What runs the cases; where few are asked for, the search for the cause is short."""
        return QUICK_TOOLS if self.quick and self.tools == TOOLS else self.tools

    @property
    def backends(self) -> tuple[str, ...]:
        """The candidate, and torch's own layer, which says whether a smaller case is one at all."""
        return (str(self.spec), TORCH) if self.patience else (str(self.spec),)

    @property
    def patience(self) -> float:
        """Seconds for the smallest cases."""
        return min(self.shrink_seconds, QUICK_SHRINK) if self.quick else self.shrink_seconds


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures alike: same symptom.  ``common`` says what sets their cases apart."""

    symptom: Symptom
    records: tuple[Record, ...]
    common: str
    declared: tuple[str, ...] = ()  # divergences of torch itself that are declared for these cases
    declared_cases: int = 0
    smallest: Shrunk | None = None
    saved: Path | None = None

    @property
    def worst(self) -> tuple[Record, Figure] | None:
        """The largest budget of the quantity, or any figure of it."""
        pairs = [
            (record, figure)
            for record in self.records
            for figure in decisive(record.figures)
            if figure.quantity == self.symptom.sign
        ]
        return max(pairs, key=lambda pair: float("inf") if pair[1].budget is None else pair[1].budget, default=None)

    @property
    def also(self) -> tuple[str, ...]:
        """The other quantities in which these cases fail too."""
        names = Counter(figure.quantity for record in self.records for figure in decisive(record.figures))
        return tuple(name for name, _ in names.most_common() if name != self.symptom.sign)


@dataclass(frozen=True)
class Findings:
    """What a check found."""

    wanted: Wanted
    run: StoredRun
    records: tuple[Record, ...]  # judged as strictly as was asked
    cases: tuple[Case, ...]
    failures: tuple[Failures, ...]
    total: int = 0  # cases of which the quick set is a part
    remarks: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def counts(self) -> Counter[str]:
        seen = Counter(record.verdict for record in self.records)
        return Counter({verdict: seen[verdict] for verdict in VERDICTS if seen[verdict]})

    @property
    def checked(self) -> int:
        """Cases of which something was judged."""
        return sum(count for verdict, count in self.counts.items() if verdict not in ("unsupported", "missing"))

    @property
    def causes(self) -> tuple[Cause, ...]:
        return self.run.footer.causes if self.run.footer is not None else ()

    @property
    def exit_code(self) -> int:
        """0 all right, 1 failures, 5 nothing was checked."""
        if self.failures:
            return 1
        return 0 if self.checked else 5


class Watcher(Listener, Protocol):
    """Who watches a check go by."""

    def doing(self, text: str) -> None:
        """What the check is at, when it runs no case of its own."""


def carry_out(wanted: Wanted, store: Store, watcher: Watcher) -> Findings:
    """Run the cases on the candidate, and look into what fails.

    Raises:
        UsageError: the candidate cannot be found, is none, takes other arguments, or dies when it is loaded.
        NothingSelected: no case is left.
    """
    suite, cases, total = _cases(wanted)
    _check_names(wanted.spec, cases)
    with _crew(wanted) as crew:
        done = _ran(wanted, cases, store, watcher, crew)
        records = tuple(_judged_strictly(record) if wanted.strict else record for record in done.records)
        _refuse_misuse(wanted, records, cases)
        groups = _grouped(records, cases, suite, done)
        found = _shrunk(groups, wanted, cases, watcher, crew)
    return Findings(wanted, done, records, cases, found, total, _remarks(records))


@contextmanager
def _crew(wanted: Wanted) -> Iterator[Crew | None]:
    """Worker processes that run the cases and then try smaller ones; none where this process does."""
    if wanted.here:
        yield None
        return
    plan = Plan((), wanted.backends)
    size = wanted.workers or default_workers()
    crew = Crew(plan, Schedule(plan), size=size, limits=_limits(wanted), tools=wanted.search_tools, evidence="")
    try:
        yield crew
    finally:
        crew.dismiss()


def _ran(wanted: Wanted, cases: tuple[Case, ...], store: Store, watcher: Watcher, crew: Crew | None) -> StoredRun:
    """The run of the cases on the candidate."""
    backend = str(wanted.spec)
    how = How(in_process=crew is None, tools=wanted.search_tools, crew=crew)
    header = Header(conformance=__version__, command=wanted.command, extra={"check": backend})
    try:
        done = run(Plan(cases, (backend,)), store, header, _Discreet(watcher, len(cases)), how)
    except InternalError as error:
        if "could not start" not in error.message:
            raise
        what = error.message.removeprefix("a worker could not start: ").replace(backend, wanted.spec.title)
        raise UsageError(
            f"{wanted.spec.title} takes its process down when it is loaded: {what}", hint=error.hint
        ) from error
    missing = done.header.missing.get(backend, "")
    if missing.startswith(UNUSABLE):
        raise UsageError(missing.removeprefix(UNUSABLE))
    return done


class _Discreet:
    """Passes on what a run says, but for a candidate that cannot be used: that is told once, as an error."""

    def __init__(self, listener: Watcher, expected: int) -> None:
        self._listener = listener
        self._expected = expected
        self._failed = False

    def began(self, header: Header, done: int) -> None:
        """The header is known."""
        missing = {name: why for name, why in header.missing.items() if not why.startswith(UNUSABLE)}
        self._listener.began(msgspec.structs.replace(header, missing=missing), done)

    def recorded(self, record: Record) -> None:
        """A record, as it is written."""
        self._listener.recorded(record)
        self._expected -= 1
        self._failed |= record.verdict in BAD
        if not self._expected and self._failed:
            self._listener.doing("looking for what the failing cases have in common")

    def noted(self, text: str) -> None:
        """Something worth knowing that changes no verdict."""
        self._listener.noted(text)


def _cases(wanted: Wanted) -> tuple[Suite, tuple[Case, ...], int]:
    like = wanted.spec.like
    if like not in OPS:
        raise UsageError(unknown("op", like, tuple(OPS)), hint="--like takes the name of the layer in torch.nn")
    suite = load(wanted.paths)
    wish = Wish(
        ops=(like,), dtypes=wanted.dtypes, ids=wanted.ids, keys=wanted.keys, keyword=wanted.keyword, slow=wanted.slow
    )
    cases = selected(suite, wish).cases
    return suite, (quick_set(cases) if wanted.quick else cases), len(cases)


def _check_names(spec: Spec, cases: Sequence[Case]) -> None:
    """That a given mapping leads to names that the op has in some case."""
    known = {
        name for case in cases for name in (*OPS[spec.like].parameters(case.args), *OPS[spec.like].buffers(case.args))
    }
    for theirs, ours in spec.names.items():
        if ours not in known:
            turned = f"; did you mean {ours}={theirs}?" if theirs in known else ""
            raise UsageError(
                f"{theirs}={ours}: {unknown(f'tensor of {spec.like}', ours, sorted(known))}{turned}",
                hint="a mapping is YOURS=TORCHS, such as gamma=weight",
            )


def _limits(wanted: Wanted) -> Limits:
    limits = Limits(case_seconds=wanted.case_seconds)
    return limits if wanted.memory is None else Limits(case_seconds=wanted.case_seconds, memory=wanted.memory)


def _judged_strictly(record: Record) -> Record:
    figures = strict_record_figures(record.figures)
    bad = [figure for figure in figures if not figure.ok]
    if record.verdict != "pass" or not bad:
        return msgspec.structs.replace(record, figures=figures)
    reason = f"{bad[0].quantity}: got {bad[0].got}, expected {bad[0].expected}"
    return msgspec.structs.replace(record, verdict="fail", reason=reason, figures=figures)


def _refuse_misuse(wanted: Wanted, records: Sequence[Record], cases: Sequence[Case]) -> None:
    """What no case can be run with is told once, in full.

    Raises:
        UsageError: the candidate's names are not clear, or its constructor raises in every case.
    """
    for record in records:
        told = next((figure.got for figure in record.figures if figure.source == USAGE), None)
        if told is not None:
            raise UsageError(told)
    meant_to_raise = {case.id for case in cases if case.raises is not None}
    tried = [r for r in records if r.verdict not in ("unsupported", "missing") and r.id not in meant_to_raise]
    signs = {symptom_of(record).sign for record in tried if record.verdict == "error"}
    if tried and len(signs) == 1 and all(record.verdict == "error" for record in tried):
        sign = signs.pop()
        if sign.endswith("in construction"):
            raise UsageError(
                f"{wanted.spec.title} cannot be set up in any of {len(tried)} cases: {tried[0].reason.split('; ')[0]}",
                hint=f"make it work with the arguments of {wanted.spec.like}, such as {_call(tried[0], wanted, cases)}",
            )


def _call(record: Record, wanted: Wanted, cases: Sequence[Case]) -> str:
    case = next(case for case in cases if case.id == record.id)
    given = ", ".join(f"{name}={value!r}" for name, value in case.args.items())
    return f"{wanted.spec.title}({given})"


def _grouped(records: Sequence[Record], cases: Sequence[Case], suite: Suite, done: StoredRun) -> list[Failures]:
    from conformance.diagnose.commonality import common  # with the references: not before workers are at work

    by_id = {case.id: case for case in cases}
    groups: dict[Symptom, list[Record]] = {}
    for record in records:
        if record.verdict in BAD:
            groups.setdefault(symptom_of(record), []).append(record)
    at_torch = surroundings(TORCH, done.header.versions)
    found = []
    for symptom, bad in sorted(groups.items(), key=lambda item: -len(item[1])):
        named = {record.id for record in bad}
        spared = [r for r in records if r.verdict in ("pass", "fail", "error") and not symptom.shown_by(r)]
        spared_cases = [by_id[r.id] for r in spared if r.id not in named and by_id[r.id].raises is None]
        declared = {r.id: applicable(by_id[r.id], suite.divergences, at_torch) for r in bad}
        names = dict.fromkeys(divergence.id for some in declared.values() for divergence in some)
        found.append(
            Failures(
                symptom,
                tuple(bad),
                common([by_id[record.id] for record in bad], spared_cases),
                tuple(names),
                sum(bool(some) for some in declared.values()),
            )
        )
    return found


def _shrunk(
    groups: Sequence[Failures], wanted: Wanted, cases: Sequence[Case], watcher: Watcher, crew: Crew | None
) -> tuple[Failures, ...]:
    """The groups, the largest with their smallest cases."""
    if not groups or not wanted.patience:
        return tuple(groups)
    by_id = {case.id: case for case in cases}
    limits = replace(_limits(wanted), case_seconds=min(wanted.case_seconds, TRIAL_SECONDS))
    trials = HereTrials(wanted.backends, TRIAL_TOOLS) if crew is None else CrewTrials(crew, wanted.backends, limits)
    found = list(groups)
    for place, group in enumerate(groups[:SHRUNK]):
        if group.symptom.verdict == "timeout":  # each trial would wait as long
            continue
        start = min(group.records, key=lambda record: plainness(by_id[record.id]))
        if by_id[start.id].raises is not None:
            continue
        watcher.doing(f"looking for the smallest case that fails in {group.symptom.sign}")
        share = wanted.patience / min(SHRUNK, len(groups))
        with suppress(InternalError):  # no process starts any more: then there is no smallest case
            smallest = shrink(by_id[start.id], start, trials, str(wanted.spec), TORCH, seconds=share)
            about = f"Found by conformance check of {wanted.spec.title}: {group.symptom.sign}."
            saved = save(smallest.case, about, wanted.save) if wanted.save is not None else None
            found[place] = replace(group, smallest=smallest, saved=saved)
    return tuple(found)


def _remarks(records: Sequence[Record]) -> Counter[str]:
    """What is told of cases and decides nothing, and in how many."""
    found: Counter[str] = Counter()
    for record in records:
        for figure in remarks_of(record.figures):
            found.update(f"{figure.quantity}\t{line}" for line in figure.got.splitlines())
    return found
