"""A run on a dask cluster: the records of a run on one machine, each once, whatever is killed over there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from killable_run import PLAN, carry_out
from runs_in_processes import PATIENCE, begun, ended, start, timeless

from conformance.cli.command import invoke
from conformance.engine import dask_executor, dask_worker
from conformance.engine.dask_address import address_of
from conformance.engine.dask_executor import check_answers
from conformance.engine.limits import Limits
from conformance.engine.schedule import Schedule
from conformance.engine.store import Store, find, read_run
from conformance.errors import UsageError
from conformance.record import Record

pytest.importorskip("distributed", reason="missing: distributed, the extra dask")
ROOT = Path(__file__).parents[2]


class Cluster:
    """A scheduler and its workers, each a process of its own on this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self._stack = ExitStack()
        self.scheduler = self._dask("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        until = time.monotonic() + PATIENCE
        while not self._listens():
            assert time.monotonic() < until, "the scheduler does not start"
            threading.Event().wait(0.05)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def executor(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        return self._dask(
            "worker", f"tcp://127.0.0.1:{self.port}", "--nthreads", "1", "--no-nanny", "--no-dashboard", *options
        )

    def _dask(self, *arguments: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "fakes")))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def cluster(tmp_path):
    found = Cluster(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    return timeless(carry_out(root, Store.create(root)).path)


def test_a_worker_that_is_killed_in_mid_run_costs_no_record_and_doubles_none(tmp_path, cluster, undisturbed):
    workers = [cluster.worker(), cluster.worker()]
    engine = start(tmp_path, cluster.executor)
    begun(tmp_path)
    file = find(tmp_path / "latest")
    assert file.read_bytes().count(b"\n") < len(undisturbed), "the run is under way"
    workers[0].kill()
    assert ended(engine) == ""
    assert engine.returncode == 0
    records = [(record.id, record.backend) for record in read_run(tmp_path / "latest").records]
    assert len(records) == len(set(records)) == len(PLAN.pairs)
    assert timeless(file) == undisturbed
    assert workers[0].wait() == -signal.SIGKILL
    assert workers[1].poll() is None


def test_a_killed_engine_is_resumed_on_the_cluster_and_a_worker_may_come_late(tmp_path, cluster, undisturbed):
    cluster.worker()
    engine = start(tmp_path, cluster.executor)
    begun(tmp_path)
    engine.kill()
    ended(engine)
    cluster.worker()
    again = start(tmp_path, cluster.executor)
    assert ended(again) == ""
    assert timeless(read_run(tmp_path / "latest").path) == undisturbed


def test_a_scheduler_that_dies_interrupts_the_run_which_can_be_finished_elsewhere(
    tmp_path, cluster, undisturbed, monkeypatch
):
    cluster.worker()
    engine = start(tmp_path, cluster.executor)
    begun(tmp_path)
    cluster.scheduler.kill()
    said = ended(engine)
    assert "Traceback" not in said
    if engine.returncode:  # it may have had everything by then
        assert engine.returncode == 2, said
        assert "is gone; what was done is kept" in said
        assert timeless(carry_out(tmp_path, Store.resume(tmp_path / "latest")).path) == undisturbed


# ---- errors ----------------------------------------------------------------------------------------------------------


def work_at(address: str) -> None:
    schedule = Schedule(PLAN)
    for _ in dask_executor.work(PLAN, schedule, address=address, tools="conformance_fakes:tools", limits=Limits()):
        pytest.fail("nobody can have said anything")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(dask_executor, "ANSWER", 1.0)


def test_no_scheduler_there_is_said_with_what_to_start(impatient):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"dask://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"no dask scheduler answers at {address}") as caught:
            work_at(address)
    assert "dask scheduler" in caught.value.hint


def test_a_scheduler_without_workers_is_said_with_what_to_start(impatient, cluster):
    with pytest.raises(UsageError, match="has no workers") as caught:
        work_at(cluster.executor)
    assert f"dask worker tcp://127.0.0.1:{cluster.port}" in caught.value.hint


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="needs the package distributed") as caught:
        work_at("dask://127.0.0.1:1")
    assert "nn-conformance[dask]" in caught.value.hint


def test_workers_that_differ_are_named_with_what_differs():
    mine = dask_worker.about()
    check_answers({"a": mine, "b": mine}, mine["conformance"])
    with pytest.raises(UsageError, match=r"workers at a and b differ: torch \S+ and 2\.0") as caught:
        check_answers({"a": mine, "b": mine | {"torch": "2.0"}}, mine["conformance"])
    assert "same environment" in caught.value.hint
    with pytest.raises(UsageError, match=r"worker at b has conformance 0\.0, here it is"):
        check_answers({"a": mine, "b": mine | {"conformance": "0.0"}}, mine["conformance"])
    with pytest.raises(UsageError, match=r"worker at b cannot run conformance .*ModuleNotFoundError: No module"):
        check_answers({"a": mine, "b": ModuleNotFoundError("No module named 'conformance'")}, mine["conformance"])


@pytest.mark.parametrize("text", ["dask", "dask://", "dask://host", "dask://host:x", "tcp://host:1", "dask://host:1/x"])
def test_what_is_no_address_is_a_usage_error_that_shows_one(text, capsys):
    with pytest.raises(UsageError, match="is not an executor") as caught:
        address_of(text)
    assert "dask://10.0.0.5:8786" in caught.value.hint
    assert invoke(["run", "--executor", text]) == 4
    assert "is not an executor" in capsys.readouterr().err


def test_an_address_is_that_of_the_scheduler():
    assert address_of("dask://10.0.0.5:8786") == "tcp://10.0.0.5:8786"
    assert address_of("dask://[::1]:8786") == "tcp://[::1]:8786"


@pytest.mark.parametrize(
    ("also", "words"),
    [(["--workers", "2"], "takes no --workers"), (["--in-process"], "no --in-process"), (["--no-cache"], "--no-cache")],
)
def test_what_does_not_go_with_an_executor_is_said(also, words, capsys):
    assert invoke(["run", "--executor", "dask://127.0.0.1:1", *also]) == 4
    assert words in capsys.readouterr().err


# ---- the worker's side ---------------------------------------------------------------------------------------------


def order(run: str, about_of: tuple[str, ...]) -> bytes:
    import msgspec
    from conformance_fakes import make_case

    cases = tuple(make_case(number, about) for number, about in enumerate(about_of))
    limits = Limits()
    return msgspec.msgpack.encode(
        dask_worker.Order(
            run=run,
            cases=cases,
            backends=("fake-a",),
            only={"fake-a": frozenset(case.key for case in cases)},
            divergences={},
            tools="conformance_fakes:tools",
            limits=(limits.case_seconds, 600.0, 300.0, 5.0, limits.memory),
        )
    )


def records_of(said: list[bytes]) -> list[Record]:
    import msgspec

    from conformance.engine.messages import Finished, FromWorker

    messages = [msgspec.msgpack.decode(data, type=FromWorker) for data in said]
    return [record for message in messages if isinstance(message, Finished) for record in message.records]


def test_units_share_warm_processes_and_a_case_that_dies_is_blamed_alone(monkeypatch):
    monkeypatch.setattr(dask_worker, "_send", lambda topic, messages: None)  # this is no dask worker
    try:
        first = records_of(dask_worker.carry_out(order("r", ("", "segfault", ""))))
        assert [record.verdict for record in first] == ["pass", "crash", "pass"]
        (hired,) = dask_worker._idle["r"]
        (before,) = hired.crew._workers
        second = records_of(dask_worker.carry_out(order("r", ("", "judge-fail", "raise"))))
        assert [record.verdict for record in second] == ["pass", "fail", "error"]
        assert hired.crew._workers == [before]
    finally:
        dask_worker.leave("r")
    assert "r" not in dask_worker._idle
    assert before._process.wait(timeout=PATIENCE) is not None
