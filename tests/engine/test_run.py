"""Whole runs with fake backends, in real worker processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from importlib import metadata
from pathlib import Path

import msgspec
import pytest
from conformance_fakes import make_case

from conformance.engine.limits import GIB, Limits
from conformance.engine.plan import Plan
from conformance.engine.run import How, run
from conformance.engine.store import Store, read_run
from conformance.errors import InternalError, UsageError
from conformance.record import Header

ROOT = Path(__file__).parents[2]
BACKENDS = ("fake-a", "fake-b")


class Quiet:
    def __init__(self):
        self.headers, self.records, self.notes, self.done = [], [], [], 0

    def began(self, header, done):
        self.headers.append(header)
        self.done = done

    def recorded(self, record):
        self.records.append(record)

    def noted(self, text):
        self.notes.append(text)


def plan_of(*abouts, backends=BACKENDS):
    return Plan(tuple(make_case(number, about) for number, about in enumerate(abouts)), backends)


def carry_out(plan, root, *, listener=None, store=None, **how):
    settings = {"workers": 2, "tools": "conformance_fakes:tools"} | how
    return run(plan, store or Store.create(root), Header(command="test"), listener or Quiet(), How(**settings))


def verdicts(result, backend="fake-a"):
    return [record.verdict for record in result.records if record.backend == backend]


def timeless(records):
    return [msgspec.structs.replace(record, seconds=0.0) for record in records]


def test_where_every_case_dies_each_record_is_written_when_it_is_known(tmp_path):
    """What a run that is interrupted then has, and what somebody who waits sees."""
    store, on_disk = Store.create(tmp_path), []

    class Watching(Quiet):
        def recorded(self, record):
            super().recorded(record)
            on_disk.append(len(read_run(store.path).records))

    listener = Watching()
    carry_out(plan_of(*["segfault"] * 3, backends=("fake-a",)), tmp_path, listener=listener, store=store, workers=1)
    assert on_disk == [1, 2, 3]
    assert [record.verdict for record in listener.records] == ["crash"] * 3


def test_a_death_is_the_verdict_of_one_case_and_the_run_goes_on(tmp_path):
    listener = Quiet()
    plan = plan_of("", "segfault", "", "exit", "", "casualty", "raise", "unsupported", "late-unsupported", "judge-fail")
    result = carry_out(plan, tmp_path, listener=listener)
    assert verdicts(result) == [
        "pass", "crash", "pass", "crash", "pass", "pass", "error", "unsupported", "unsupported", "fail",
    ]  # fmt: skip
    assert verdicts(result, "fake-b")[:9] == [
        "pass", "pass", "pass", "pass", "pass", "pass", "pass", "unsupported", "pass",
    ]  # fmt: skip
    by_case = {record.id: record for record in result.records if record.backend == "fake-a"}
    assert by_case["fake::n1"].reason == "the worker died with SIGSEGV"
    assert "about to read address 0" in by_case["fake::n1"].detail
    assert "Segmentation fault" in by_case["fake::n1"].detail
    assert "conformance_fakes.py" in by_case["fake::n1"].detail
    assert by_case["fake::n3"].reason == "the worker died with exit code 7"
    assert "alone, in a fresh process, it did not" in by_case["fake::n5"].detail
    assert by_case["fake::n6"].reason == "conformance itself failed: ValueError: a fault of our own"
    assert "Traceback" in by_case["fake::n6"].detail
    assert by_case["fake::n8"].reason == "export: UnsupportedOperatorError: no aten::fake"
    assert by_case["fake::n8"].detail.endswith("more words")
    assert any("fake::n5" in note for note in listener.notes)
    assert result.footer.records == len(plan.pairs) == sum(result.footer.verdicts.values())
    assert timeless(read_run(tmp_path / "latest").records) == timeless(result.records)


def test_a_hang_ends_at_its_limit_with_the_stack_of_where_it_hung(tmp_path):
    result = carry_out(plan_of("", "hang", ""), tmp_path, limits=Limits(case_seconds=1.0))
    assert verdicts(result) == ["pass", "timeout", "pass"]
    record = result.records[2]
    assert record.reason == "did not end within its limit of 1 s"
    assert "in misbehave" in record.detail


def test_too_much_memory_is_the_verdict_of_one_case(tmp_path):
    if not Path("/proc/self/statm").exists():
        pytest.skip("missing: /proc, by which memory is watched")
    result = carry_out(plan_of("", "hog", ""), tmp_path, limits=Limits(memory=GIB))
    assert verdicts(result) == ["pass", "crash", "pass"]
    assert result.records[2].reason == "used more than 1 GiB of memory"


def test_a_death_while_preparing_is_blamed_on_the_case_that_dies_by_itself(tmp_path):
    listener = Quiet()
    result = carry_out(plan_of("", "prepare-segfault", ""), tmp_path, listener=listener)
    assert verdicts(result) == ["pass", "crash", "pass"]
    assert "while it prepared" in listener.notes[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_death_is_blamed_on_its_own_case_though_a_worker_holds_units_that_it_has_not_begun(tmp_path, workers):
    deaths = dict.fromkeys((5, 29, 30, 31, 60, 61, 62, 63, 64, 98), "segfault") | {45: "exit", 70: "hang"}
    plan = plan_of(*(deaths.get(number, "") for number in range(100)))
    result = carry_out(plan, tmp_path, workers=workers, limits=Limits(case_seconds=1.0))
    told = {number: verdict for number, verdict in enumerate(verdicts(result)) if verdict != "pass"}
    assert told == {number: "timeout" if about == "hang" else "crash" for number, about in deaths.items()}
    assert set(verdicts(result, "fake-b")) == {"pass"}


def test_an_exception_while_preparing_is_noted_and_costs_no_record(tmp_path):
    listener = Quiet()
    result = carry_out(plan_of("", "prepare-raise", ""), tmp_path, listener=listener)
    assert verdicts(result) == ["pass", "pass", "pass"]
    assert listener.notes == ["fake-a could not prepare a unit: RuntimeError: cannot prepare this"]


def test_records_and_their_order_do_not_depend_on_workers_or_process(tmp_path):
    plan = plan_of(*["slow", "", "judge-fail", "judge-known", "unsupported", "raise"] * 6)
    files = []
    for number, how in enumerate(({"workers": 1}, {"workers": 3}, {"in_process": True})):
        result = carry_out(plan, tmp_path / str(number), **how)
        files.append(timeless(result.records))
    assert files[0] == files[1]
    traceless = [[msgspec.structs.replace(record, detail="") for record in file] for file in files]
    assert traceless[0] == traceless[2]


def test_a_missing_backend_has_a_record_for_every_case_and_a_line_in_the_header(tmp_path):
    plan = plan_of("", "", backends=("fake-a", "fake-missing", "fake-uninstalled"))
    result = carry_out(plan, tmp_path)
    assert result.header.missing == {
        "fake-missing": "no fake device",
        "fake-uninstalled": "No module named 'fakeruntime'",
    }
    assert verdicts(result, "fake-missing") == verdicts(result, "fake-uninstalled") == ["missing", "missing"]
    assert result.header.versions == {"fake": "1.0", "numpy": metadata.version("numpy")}
    assert result.header.machine["cuda"] == "none"


def test_a_sampled_backend_is_sent_its_sample_and_the_header_counts_the_rest(tmp_path):
    cases = tuple(make_case(number) for number in range(5))
    plan = Plan(cases, BACKENDS, only={"fake-b": frozenset({cases[0].key, cases[3].key})})
    result = carry_out(plan, tmp_path)
    assert result.header.left_out == {"fake-b": 3}
    assert result.header.expected == len(result.records) == 7


def test_a_worker_that_cannot_start_is_an_internal_error_that_names_the_backend(tmp_path):
    with pytest.raises(InternalError, match="could not start: the worker died with SIGSEGV while it loaded fake-dies"):
        carry_out(plan_of("", backends=("fake-a", "fake-dies")), tmp_path)


def test_an_interrupted_run_keeps_what_was_done_and_resumes_to_the_same_records(tmp_path):
    plan = plan_of("", "", "interrupt", "")
    whole = carry_out(plan_of("", "", "", ""), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, tmp_path / "cut", in_process=True)
    cut = read_run(tmp_path / "cut" / "latest")
    assert cut.footer is None
    assert len(cut.records) == 4
    mended = Plan(tuple(msgspec.structs.replace(case, about="") for case in plan.cases), BACKENDS)
    listener = Quiet()
    resumed = carry_out(mended, tmp_path, store=Store.resume(tmp_path / "cut" / "latest"), listener=listener)
    assert timeless(resumed.records) == timeless(whole.records)
    assert len(listener.records) == 4
    assert timeless(read_run(tmp_path / "cut" / "latest").records) == timeless(whole.records)


def test_a_resumed_run_tells_each_record_once_those_that_waited_for_their_turn_included(tmp_path):
    plan, listener = plan_of("", "", "", ""), Quiet()
    whole = carry_out(plan, tmp_path / "whole")
    cut = Store.create(tmp_path / "cut")
    cut.begin(whole.header)
    cut.add(whole.records[:2])
    cut.hold([whole.records[2], whole.records[5]])
    cut.close()
    carry_out(plan, tmp_path, store=Store.resume(tmp_path / "cut" / "latest"), listener=listener)
    assert (listener.done, len(listener.records)) == (2, len(plan.pairs) - 2)


def test_a_run_of_other_cases_cannot_be_resumed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan_of("interrupt"), tmp_path, in_process=True)
    with pytest.raises(UsageError, match="changed since the run"):
        carry_out(plan_of("", ""), tmp_path, store=Store.resume(tmp_path / "latest"))


def test_a_lost_record_is_an_internal_error():
    plan = plan_of("", "")
    with pytest.raises(InternalError, match="4 asked for, 0 present, 4 absent"):
        plan.check_complete([])


def test_the_workers_of_a_killed_run_end_by_themselves(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "fakes")!r}]
        from pathlib import Path
        from conformance_fakes import make_case
        from conformance.engine.plan import Plan
        from conformance.engine.run import How, run
        from conformance.engine.store import Store
        from conformance.record import Header
        class Loud:
            def began(self, header, done): print("began", flush=True)
            def recorded(self, record): pass
            def noted(self, text): pass
        plan = Plan((make_case(0, "slow"), make_case(1, "hang")), ("fake-a",))
        how = How(workers=1, tools="conformance_fakes:tools")
        run(plan, Store.create(Path({str(tmp_path)!r})), Header(), Loud(), how)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "began\n"
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("missing: /proc, by which children are found")
    (child,) = children.read_text().split()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 25
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1]:
        assert time.monotonic() < deadline, "the worker outlived its engine"
        threading.Event().wait(0.2)
