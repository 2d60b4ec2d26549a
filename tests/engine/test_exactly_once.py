"""Whatever kills a run, and whenever: once it is finished, every pair has the record that it would have had."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from killable_run import PLAN, begin, carry_out
from runs_in_processes import PATIENCE, SCRIPT, begun, ended, start, timeless

from conformance.engine.store import HELD, RECORDS, Store, read_run
from conformance.errors import ConformanceError, UsageError
from conformance.record import Line

KILLS = 50
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="missing: /proc, by which workers are found"
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    return timeless(carry_out(root, Store.create(root)).path)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill(*pids: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def strike(chance: random.Random, engine: subprocess.Popen[str]) -> str:
    """Kill what is there at a random moment: the engine, one of its workers, or all of them."""
    victim = chance.choice(("engine", "worker", "both"))
    # half of the time anywhere, half of the time while there are workers
    if chance.random() < 0.5:
        threading.Event().wait(chance.uniform(0.0, 1.5))
    else:
        until = time.monotonic() + 5
        while not children(engine.pid) and engine.poll() is None and time.monotonic() < until:
            threading.Event().wait(0.01)
        threading.Event().wait(chance.uniform(0.0, 0.8))
    workers = children(engine.pid)
    if victim == "worker" and workers:
        kill(chance.choice(workers))
    elif victim == "both":
        kill(engine.pid, *workers)
    else:
        kill(engine.pid)
    return victim


class Acknowledged:
    """The whole lines that were in the files of a run at some time; none of them may be lost or made again."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def look(self, root: Path) -> None:
        for file in (*root.glob(f"*/{RECORDS}"), *root.glob(f"*/{HELD}")):
            self._seen.update(line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))

    def missing_from(self, file: Path) -> set[bytes]:
        return self._seen - set(file.read_bytes().splitlines(keepends=True))


def finish_undercut(chance: random.Random, root: Path, most: int) -> int:
    """Kill a run and its resumptions until one of them ends by itself; return the kills that hit something."""
    hits, acknowledged = 0, Acknowledged()
    while True:
        engine = start(root)
        if hits < most:
            victim = strike(chance, engine)
            hits += victim != "worker" or engine.poll() is None
        said = ended(engine)
        acknowledged.look(root)
        if complete(root):
            assert acknowledged.missing_from(read_run(root / "latest").path) == set()
            return hits
        assert engine.returncode == -signal.SIGKILL, said


def complete(root: Path) -> bool:
    try:
        return read_run(root / "latest").footer is not None
    except ConformanceError:
        return False  # it ended before it began


def undercut(root: Path, seed: int, kills: int, undisturbed: list[Line]) -> int:
    """Run after run, each killed a few times on its way; the kills that hit something."""
    chance, hits, runs = random.Random(seed), 0, 0
    while hits < kills:
        place, runs = root / f"{seed}-{runs}", runs + 1  # a run may end before anything hits it
        hits += finish_undercut(chance, place, min(9, kills - hits))
        assert timeless(read_run(place / "latest").path) == undisturbed, f"seed {seed}, after {hits} kills"
    return hits


def test_killed_at_fifty_random_moments_a_run_ends_with_the_records_of_one_that_was_not(tmp_path, undisturbed):
    assert len(undisturbed) == len(PLAN.pairs) + 2
    shares = (KILLS // 3, KILLS // 3, KILLS - 2 * (KILLS // 3))
    with ThreadPoolExecutor(len(shares)) as pool:  # most of the time is spent waiting
        hits = pool.map(lambda seed: undercut(tmp_path, seed, shares[seed], undisturbed), range(len(shares)))
        assert sum(hits) == KILLS


def test_a_full_disk_interrupts_in_words_and_the_run_can_be_finished(tmp_path, undisturbed):
    for size in (700, 5_000):
        root = tmp_path / str(size)
        engine = start(root, str(size))
        said = ended(engine)
        assert engine.returncode == 2, said
        assert "cannot write" in said
        assert "--resume" in said
        assert "Traceback" not in said
        file = read_run(root / "latest").path
        assert file.stat().st_size <= size
        assert timeless(carry_out(root, begin(root)).path) == undisturbed
        assert read_run(root / "latest").path == file


def small_disk(folder: Path) -> list[str]:
    """The command that runs what follows it where ``folder`` is a disk of 8 KiB; none where that is not allowed.

    In a mount namespace of its own, which needs no rights but those that many systems give to everybody.
    """
    mounts = f'mount -t tmpfs -o size=8k tmpfs "{folder}" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounts, "sh"]
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    return command if tried.returncode == 0 else []


def test_a_disk_that_is_really_full_interrupts_and_what_it_took_is_finished_elsewhere(tmp_path, undisturbed):
    """ENOSPC from a file system of 8 KiB, which the records fill after a few; copied off before it goes away."""
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    command = small_disk(disk)
    if not command:
        pytest.skip("missing: the right to mount a tmpfs in a namespace of one's own")
    script = f'"{sys.executable}" "{SCRIPT}" "{disk}"; code=$?; cp -r "{disk}" "{saved}"; exit $code'
    engine = subprocess.Popen(
        [*command, "sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = ended(engine)
    assert engine.returncode == 2, said
    assert "No space left on device" in said
    assert "make room, then: conformance run --resume" in said
    assert "Traceback" not in said
    taken = whole_lines(read_run(saved / "latest").path)
    assert 0 < len(taken) < len(undisturbed)
    assert timeless(carry_out(saved, begin(saved)).path) == undisturbed


def whole_lines(file: Path) -> list[bytes]:
    """The whole lines of a file that may end in half a line."""
    return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def test_two_runs_in_the_same_folder_each_have_all_their_records(tmp_path, undisturbed):
    engines = [start(tmp_path), start(tmp_path)]
    assert [(ended(engine), engine.returncode) for engine in engines] == [("", 0), ("", 0)]
    files = sorted({file.resolve() for file in tmp_path.glob(f"*/{RECORDS}")})
    assert [timeless(file) for file in files] == [undisturbed, undisturbed]


def test_a_run_that_is_under_way_cannot_be_resumed(tmp_path, undisturbed):
    engine = start(tmp_path)
    begun(tmp_path)
    with pytest.raises(UsageError, match="another process is still writing"):
        Store.resume(tmp_path / "latest")
    assert ended(engine) == ""
    assert timeless(read_run(tmp_path / "latest").path) == undisturbed


def test_ctrl_c_ends_a_run_without_a_trace_and_it_can_be_finished(tmp_path, undisturbed):
    chance = random.Random(7)
    for round_ in range(4):
        root = tmp_path / str(round_)
        engine = start(root)
        if round_ % 2:
            begun(root)
        else:  # while the workers start
            until = time.monotonic() + PATIENCE
            while not children(engine.pid):
                assert time.monotonic() < until, "no worker starts"
                threading.Event().wait(0.005)
        threading.Event().wait(chance.uniform(0.0, 0.2))
        os.killpg(engine.pid, signal.SIGINT)  # as a terminal sends it, to the workers too
        assert ended(engine) == "interrupted\n"
        assert engine.returncode == 2
        assert timeless(carry_out(root, begin(root)).path) == undisturbed
