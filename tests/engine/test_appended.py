"""Lines at the end of a file: one writer at a time, all of a line or none of it."""

from __future__ import annotations

import errno
import fcntl
import os

import msgspec
import pytest
from conformance_fakes import make_case

from conformance.engine.appended import Appended, StorageError
from conformance.engine.plan import plain_record
from conformance.errors import UsageError

RECORDS = [plain_record(make_case(number), "a", "pass", "") for number in range(3)]
LINES = [msgspec.json.encode(record) + b"\n" for record in RECORDS]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "records.jsonl"


def test_a_file_that_is_being_written_is_refused_until_it_is_closed(file):
    first, second = Appended(file), Appended(file)
    first.add(RECORDS[0])
    opened = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None  # noqa: PTH112, PTH208 - names
    with pytest.raises(UsageError, match="another process is still writing"):
        second.add(RECORDS[1])
    if opened is not None:
        assert len(os.listdir("/proc/self/fd")) == opened, "what was refused stays open"  # noqa: PTH208 - names
    first.close()
    second.add(RECORDS[1])
    second.close()
    assert file.read_bytes() == LINES[0] + LINES[1]


def test_where_files_cannot_be_locked_they_are_written_all_the_same(file, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    lines = Appended(file)
    lines.add(*RECORDS)
    lines.close()
    assert file.read_bytes() == b"".join(LINES)


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_whole_lines(file, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda place, data: write(place, data[:7]))
    lines = Appended(file)
    lines.add(*RECORDS)
    lines.close()
    assert file.read_bytes() == b"".join(LINES)


def test_a_disk_that_is_full_is_said_with_what_to_do(file, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    lines = Appended(file)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"cannot write .*records\.jsonl: No space left on device") as told:
        lines.add(RECORDS[0])
    assert "conformance run --resume" in str(told.value.hint)
    lines.close()


def test_no_line_makes_no_file(file):
    lines = Appended(file)
    lines.add()
    lines.close()
    assert not file.exists()
    assert lines.mend(lambda _: True) == 0


@pytest.mark.parametrize(("end", "kept"), [(b"", 2), (b'{"torn', 2), (b"not a line\n", 2), (b"no\nno\n{", 2)])
def test_what_is_no_whole_line_at_the_end_is_cut_off(file, end, kept):
    file.write_bytes(LINES[0] + LINES[1] + end)
    lines = Appended(file)
    assert lines.mend(lambda line: line in LINES) == kept
    lines.add(RECORDS[2])
    lines.close()
    assert file.read_bytes() == b"".join(LINES)
