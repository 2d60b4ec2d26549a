"""What is kept in packs comes back as it was or not at all, whatever happens to the files."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conformance import pack_cache
from conformance.pack_cache import PackCache

ROOT = Path(pack_cache.__file__).parents[1]
LIMIT = 1 << 30


def key_of(name) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


@pytest.fixture
def cache(tmp_path):
    return PackCache(tmp_path / "kept", LIMIT)


def another(cache, limit=LIMIT):
    """The same folder as another process sees it."""
    return PackCache(cache.folder, limit)


def aged(cache, seconds=10 * pack_cache.ABANDONED):
    """As if everything had been written and read long ago."""
    then = time.time() - seconds
    for file in cache.folder.iterdir():
        os.utime(file, (then, then))


def test_what_was_put_comes_back_in_this_process_and_in_others(cache):
    for number in range(100):
        cache.put(key_of(number), bytes([number]) * number)
    for reader in (cache, another(cache)):
        assert [reader.get(key_of(number)) for number in range(100)] == [bytes([n]) * n for n in range(100)]
        assert reader.get(key_of("absent")) is None
    contents = another(cache).contents()
    assert contents.entries == 100
    assert contents.size == sum(file.stat().st_size for file in cache.folder.iterdir()) > 4950


def test_a_process_writes_one_pack_and_reading_writes_none(cache):
    for number in range(100):
        cache.put(key_of(number), b"payload")
    another(cache).get(key_of(1))
    assert sorted(file.suffix for file in cache.folder.iterdir()) == [".index", ".pack"]


def test_of_one_key_the_latest_counts_and_the_same_again_takes_no_room(cache):
    cache.put(key_of("a"), b"one")
    size = another(cache).contents().size
    another(cache).put(key_of("a"), b"one")
    assert another(cache).contents().size == size
    another(cache).put(key_of("a"), b"two")
    assert another(cache).get(key_of("a")) == b"two"


def test_a_pack_that_was_read_lately_is_not_thereby_the_latest(cache):
    cache.put(key_of("a"), b"one")
    (old,) = cache.folder.glob("*.pack")
    another(cache).put(key_of("a"), b"two")
    aged(cache)
    os.utime(old)
    assert another(cache).get(key_of("a")) == b"two"


DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "one bit": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "other bytes": lambda data: random.Random(0).randbytes(len(data)),
    "longer": lambda data: data + b"more",
}


@pytest.mark.parametrize("suffix", [".pack", ".index"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_give_what_was_put_or_nothing_and_take_it_again(cache, suffix, damage):
    for number in range(20):
        cache.put(key_of(number), bytes([number]) * 50)
    (file,) = cache.folder.glob(f"*{suffix}")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for reader in (cache, another(cache)):
        found = [reader.get(key_of(number)) for number in range(20)]
        assert all(payload in (None, bytes([number]) * 50) for number, payload in enumerate(found))
        for number in range(20):
            reader.put(key_of(number), bytes([number]) * 50)
        assert [reader.get(key_of(number)) for number in range(20)] == [bytes([n]) * 50 for n in range(20)]
    again = another(cache)  # from what the second, which saw the damage, wrote
    assert [again.get(key_of(number)) for number in range(20)] == [bytes([n]) * 50 for n in range(20)]


@pytest.mark.parametrize("gone", ["*.pack", "*.index", "*"])
def test_what_is_deleted_under_a_process_costs_no_result(cache, gone):
    cache.put(key_of("a"), b"payload")
    reader = another(cache)
    assert reader.get(key_of("b")) is None  # it knows now what there is
    for file in cache.folder.glob(gone):
        file.unlink()
    assert reader.get(key_of("a")) in (None, b"payload")
    for writer in (cache, reader):
        writer.put(key_of("c"), b"more")
        assert writer.get(key_of("c")) == b"more"
    shutil.rmtree(cache.folder)
    cache.put(key_of("d"), b"still")
    assert cache.get(key_of("d")) in (None, b"still")


def test_beyond_the_limit_the_least_recently_used_packs_go_first(tmp_path):
    for number in range(10):
        PackCache(tmp_path, LIMIT).put(key_of(number), bytes(1000))
    aged(PackCache(tmp_path, LIMIT))
    PackCache(tmp_path, LIMIT).get(key_of(2))  # used again
    small = PackCache(tmp_path, 6000)
    small.put(key_of("new"), bytes(1000))
    left = PackCache(tmp_path, LIMIT)
    assert left.contents().size <= 6000
    kept = [name for name in (*range(10), "new") if left.get(key_of(name)) is not None]
    assert {2, "new"} <= set(kept)
    assert len(kept) >= 4


def test_within_the_limit_nothing_goes_however_near_it_is(tmp_path):
    for number in range(5):
        PackCache(tmp_path, LIMIT).put(key_of(number), bytes(1000))
    held = PackCache(tmp_path, LIMIT).contents().size
    PackCache(tmp_path, held + 2000).put(key_of("new"), bytes(1000))
    assert PackCache(tmp_path, LIMIT).contents().entries == 6


def test_a_process_that_writes_on_looks_at_the_others_again_and_keeps_its_own(tmp_path):
    writer = PackCache(tmp_path, 8000)
    writer.put(key_of("first"), bytes(100))
    for number in range(10):
        PackCache(tmp_path, LIMIT).put(key_of(number), bytes(1000))
    writer.put(key_of("second"), bytes(8000 // pack_cache.LOOKS - 101))
    assert PackCache(tmp_path, LIMIT).contents().entries == 12, "it looks only now and then"
    for name in "abcd":
        writer.put(key_of(name), bytes(500))
    left = PackCache(tmp_path, LIMIT)
    assert all(left.get(key_of(name)) is not None for name in ("first", "second", *"abcd"))
    assert sum(left.get(key_of(number)) is not None for number in range(10)) < 6
    assert left.contents().size <= 8000 + 500


def test_a_pack_that_was_used_just_now_is_not_marked_as_used_again(tmp_path):
    PackCache(tmp_path, LIMIT).put(key_of(1), b"payload")
    (pack,) = tmp_path.glob("*.pack")
    for ago, marked in ((pack_cache.FRESH / 2, False), (pack_cache.FRESH * 2, True)):
        then = time.time() - ago
        os.utime(pack, (then, then))
        PackCache(tmp_path, LIMIT).get(key_of(1))
        assert (pack.stat().st_mtime > then + 1) == marked


def test_many_small_packs_that_nobody_writes_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_cache, "MANY", 4)
    for number in range(6):
        PackCache(tmp_path, LIMIT).put(key_of(number), bytes([number]) * 100)
    aged(PackCache(tmp_path, LIMIT))
    young = PackCache(tmp_path, LIMIT)
    young.put(key_of("young"), b"still written")
    assert len(list(tmp_path.glob("*.pack"))) == 1
    for reader in (young, PackCache(tmp_path, LIMIT)):
        assert [reader.get(key_of(number)) for number in range(6)] == [bytes([n]) * 100 for n in range(6)]
        assert reader.get(key_of("young")) == b"still written"


def test_packs_that_may_still_be_written_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_cache, "MANY", 4)
    writers = [PackCache(tmp_path, LIMIT) for _ in range(6)]
    for number, writer in enumerate(writers):
        writer.put(key_of(number), b"first")
        writer.put(key_of(-number - 1), b"second")
    assert len(list(tmp_path.glob("*.pack"))) == 6
    reader = PackCache(tmp_path, LIMIT)
    assert all(reader.get(key_of(name)) for name in range(-6, 6))


def test_clearing_removes_what_the_cache_wrote_and_nothing_else(cache):
    cache.put(key_of("a"), b"payload")
    (cache.folder / "notes.txt").write_text("mine")
    assert cache.clear().entries == 1
    assert [file.name for file in cache.folder.iterdir()] == ["notes.txt"]
    assert cache.get(key_of("a")) is None
    cache.put(key_of("a"), b"anew")
    assert another(cache).get(key_of("a")) == b"anew"


def test_a_folder_that_cannot_be_written_costs_no_result(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = PackCache(tmp_path / "file", LIMIT)
    cache.put(key_of("a"), b"payload")
    assert cache.get(key_of("a")) is None
    assert cache.contents().entries == 0
    cache.clear()


def test_a_disk_that_takes_no_more_costs_no_result(cache, monkeypatch):
    cache.put(key_of("a"), b"payload")

    def full(file, place, data):
        file.seek(place)
        file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack_cache, "_put", full)
    cache.put(key_of("b"), b"more")
    for reader in (cache, another(cache)):
        assert (reader.get(key_of("a")), reader.get(key_of("b"))) == (b"payload", None)


WRITER = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conformance.pack_cache import PackCache
cache, number = PackCache(Path(sys.argv[2]), 1 << 30), 0
print("ready", flush=True)
while True:
    key = hashlib.sha256(str(number % 5000).encode()).hexdigest()
    cache.put(key, bytes([number % 251]) * (number % 5000))
    assert cache.get(key) == bytes([number % 251]) * (number % 5000)
    number += 1
"""


def test_writers_that_are_killed_at_any_moment_poison_nothing(tmp_path):
    draw = random.Random(7)
    for _ in range(4):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        time.sleep(draw.uniform(0.02, 0.2))
        for writer in writers:
            assert writer.poll() is None, "it found something else than it had put"
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    reader = PackCache(tmp_path, LIMIT)
    found = {number: reader.get(key_of(number)) for number in range(5000)}
    whole = {number: payload for number, payload in found.items() if payload is not None}
    assert len(whole) > 20
    assert all(len(payload) == number and len(set(payload)) <= 1 for number, payload in whole.items())
