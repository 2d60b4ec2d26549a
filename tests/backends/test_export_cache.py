"""Exports on disk: nothing lost, nothing poisoned, whatever happens to the files."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conformance.backends import export_cache
from conformance.backends.export_cache import ExportCache, standard_cache
from conformance.errors import UsageError

ROOT = Path(__file__).parents[2]


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def files(cache: ExportCache, pattern: str = "*.export") -> list[Path]:
    return sorted(cache.folder.rglob(pattern))


@pytest.fixture
def cache(tmp_path) -> ExportCache:
    return ExportCache(tmp_path / "cache")


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 1000])
def test_what_is_put_is_what_another_process_gets(cache, payload):
    cache.put(key_of("a"), payload)
    assert ExportCache(cache.folder).get(key_of("a")) == payload
    assert cache.get(key_of("b")) is None


@pytest.mark.parametrize("place", [0, 10, 25, 40, 60, -1])
def test_a_file_with_one_wrong_byte_is_thrown_away(cache, place):
    cache.put(key_of("a"), b"payload" * 10)
    (file,) = files(cache)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert cache.get(key_of("a")) is None
    assert files(cache) == []


def test_a_file_of_any_other_length_is_thrown_away(cache):
    cache.put(key_of("a"), b"payload")
    (file,) = files(cache)
    whole = file.read_bytes()
    for damaged in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
        file.write_bytes(damaged)
        assert cache.get(key_of("a")) is None
    cache.put(key_of("a"), b"payload")
    assert cache.get(key_of("a")) == b"payload"


def test_a_file_under_another_name_is_no_answer(cache):
    cache.put(key_of("a"), b"payload of a")
    (file,) = files(cache)
    other = cache.folder / key_of("b")[:2] / f"{key_of('b')}.export"
    other.parent.mkdir(exist_ok=True)
    file.rename(other)
    assert cache.get(key_of("b")) is None


def test_the_least_recently_used_go_when_the_cache_grows_too_large(tmp_path):
    cache = ExportCache(tmp_path, limit=10_000)
    for number in range(8):
        cache.put(key_of(number), bytes(1000))
        os.utime(cache._place(key_of(number)), (number, number))
    assert cache.get(key_of(0)) is not None  # which makes it the youngest
    for number in (8, 9, 10):
        cache.put(key_of(number), bytes(1000))
    assert cache.contents().size <= cache.limit
    assert cache.get(key_of(0)) is not None
    assert cache.get(key_of(1)) is None
    assert cache.get(key_of(10)) is not None


def test_one_payload_beyond_the_limit_does_not_stay(tmp_path):
    cache = ExportCache(tmp_path, limit=100)
    cache.put(key_of("a"), bytes(1000))
    assert cache.contents().entries == 0


def test_what_a_dead_writer_left_is_swept_away_and_what_a_living_one_writes_is_not(cache):
    cache.put(key_of("a"), b"payload")
    folder = files(cache)[0].parent
    dead, living = folder / "x.1-a.unfinished", folder / "x.2-b.unfinished"
    for file in (dead, living):
        file.write_bytes(b"half")
    old = time.time() - 2 * export_cache.ABANDONED
    os.utime(dead, (old, old))
    cache.tidy()
    assert (dead.exists(), living.exists()) == (False, True)
    assert cache.contents().unfinished == 1


def test_clearing_removes_what_the_cache_wrote_and_nothing_else(cache):
    cache.put(key_of("a"), b"payload")
    strange = files(cache)[0].parent / "notes.txt"
    strange.write_text("mine")
    before = cache.clear()
    assert (before.entries, before.size > 0) == (1, True)
    assert cache.contents().entries == 0
    assert strange.read_text() == "mine"


def test_a_folder_that_cannot_be_written_costs_no_result(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = ExportCache(tmp_path / "file")
    cache.put(key_of("a"), b"payload")
    assert cache.get(key_of("a")) is None
    assert cache.contents().entries == 0
    cache.clear()


def test_a_writer_that_is_interrupted_leaves_nothing(cache, monkeypatch):
    def interrupted(place, data):
        Path(place).parent.mkdir(parents=True)
        Path(place).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(export_cache, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.put(key_of("a"), b"payload")
    assert files(cache, "*.*") == []


WRITER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from conformance.backends.export_cache import ExportCache
import hashlib
cache = ExportCache(Path({folder!r}))
print("ready", flush=True)
number = 0
while True:
    key = hashlib.sha256(str(number % 20).encode()).hexdigest()
    cache.put(key, bytes([number % 20]) * 3_000_000)
    number += 1
"""


def _writer(cache):
    script = WRITER.format(root=str(ROOT), folder=str(cache.folder))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def _kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_killing_writers_loses_nothing_and_poisons_nothing(cache):
    """Each round a writer dies somewhere in a file; whatever is found afterwards is right or absent."""
    found = set()
    for round_ in range(8):
        process = _writer(cache)
        time.sleep(0.05 + 0.013 * round_)
        _kill(process)
        for number in range(20):
            payload = cache.get(key_of(number))
            assert payload is None or payload == bytes([number]) * 3_000_000
            if payload is not None:
                found.add(number)
            else:
                assert number not in found, "what was there once is there for good"
    assert found


def test_readers_and_writers_at_once_see_whole_files_or_none(cache):
    processes = [_writer(cache) for _ in range(2)]
    try:
        seen = 0
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            for number in range(20):
                payload = cache.get(key_of(number))
                assert payload is None or payload == bytes([number]) * 3_000_000
                seen += payload is not None
    finally:
        for process in processes:
            _kill(process)
    assert seen


def test_the_environment_says_where_the_cache_is_or_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv(export_cache.SWITCH_VARIABLE, raising=False)
    assert standard_cache().folder == tmp_path / "exports"
    monkeypatch.setenv(export_cache.SWITCH_VARIABLE, "off")
    assert standard_cache() is None
    monkeypatch.setenv(export_cache.SWITCH_VARIABLE, "perhaps")
    with pytest.raises(UsageError, match="CONFORMANCE_CACHE is 'perhaps'"):
        standard_cache()
    monkeypatch.delenv("CONFORMANCE_CACHE_DIR")
    assert export_cache.exports_folder().name == "exports"
