from __future__ import annotations

import os
from datetime import UTC, datetime

import msgspec
import pytest
from conformance_fakes import make_case

from conformance.engine.plan import plain_record
from conformance.engine.store import HELD, OnDisk, Store, find, read_run
from conformance.errors import ConformanceError, UsageError
from conformance.record import Footer, Header
from conformance.report.formats import FORMATS

HEADER = Header(suite="abc", cases=3, backends=("a",), expected=3)


def record(number):
    return plain_record(make_case(number), "a", "pass", "")


def written(root, records, *, footer=True):
    store = Store.create(root)
    store.begin(HEADER)
    for line in records:
        store.add([line])
    if footer:
        store.finish(Footer(records=len(records), verdicts={"pass": len(records)}))
    store.close()
    return store


def test_what_was_written_is_read_back_through_the_latest_pointer(tmp_path):
    store = written(tmp_path, [record(0), record(1)])
    run = read_run(tmp_path / "latest")
    assert (run.header, run.records, run.footer) == (
        HEADER,
        (record(0), record(1)),
        Footer(records=2, verdicts={"pass": 2}),
    )
    assert run.path.samefile(store.path)


def test_bytes_that_the_locale_does_not_know_are_stored_as_the_text_that_they_are(tmp_path):
    odd = "\u00e4".encode().decode("ascii", "surrogateescape")  # as sys.argv has it where LC_ALL is C
    header = msgspec.structs.replace(HEADER, command=f"conformance run {odd}.yaml", extra={"paths": [odd, "\udcff"]})
    store = Store.create(tmp_path)
    store.begin(header)
    store.close()
    read = read_run(store.path).header
    assert (read.command, read.extra) == ("conformance run \u00e4.yaml", {"paths": ["\u00e4", "\ufffd"]})
    assert msgspec.structs.replace(read, command="", extra={}) == HEADER


def test_the_pointer_may_be_a_plain_file(tmp_path):
    store = written(tmp_path, [record(0)])
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").write_text(store.folder.name + "\n")
    assert find(tmp_path / "latest") == store.path


def test_two_runs_of_one_second_do_not_share_a_folder(tmp_path):
    now = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [Store.create(tmp_path, now=now).folder.name for _ in range(3)] == [
        "20250102-030405",
        "20250102-030405-1",
        "20250102-030405-2",
    ]


def test_cut_anywhere_the_file_resumes_to_whole_records_only(tmp_path):
    whole = written(tmp_path, [record(0), record(1)], footer=False).path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) + 1, 7):
        file = tmp_path / str(cut) / "records.jsonl"
        file.parent.mkdir()
        file.write_bytes(whole[:cut])
        store = Store.resume(file)
        assert store.written == whole[:cut].count(b"\n") - 1 == len(store.done)
        for number in range(store.written, 2):
            store.add([record(number)])
        store.finish(Footer(records=2, verdicts={"pass": 2}))
        run = read_run(file)
        assert run.records == (record(0), record(1))
        assert run.footer is not None


def test_records_held_back_by_an_interruption_count_as_done(tmp_path):
    store = written(tmp_path, [record(0)], footer=False)
    store.hold([record(2)])
    store.close()
    assert read_run(store.path).records == (record(0), record(2))
    again = Store.resume(store.path)
    assert (again.done, again.written) == ((record(0), record(2)), 1)
    again.add([record(1), record(2)])
    again.finish(Footer(records=3, verdicts={"pass": 3}))
    assert not (store.folder / HELD).exists()
    assert read_run(store.path).records == (record(0), record(1), record(2))


def test_a_record_that_was_put_aside_and_written_or_put_aside_twice_counts_once(tmp_path):
    store = written(tmp_path, [record(0), record(1)], footer=False)
    store.hold([record(1), record(2)])
    store.hold([record(2)])
    store.close()
    assert read_run(store.path).records == (record(0), record(1), record(2))


def test_what_was_put_aside_is_nothing_to_a_complete_run(tmp_path):
    store = written(tmp_path, [record(0)])
    (store.folder / HELD).write_bytes(msgspec.json.encode(record(2)) + b"\n")
    assert read_run(store.path).records == (record(0),)


def test_what_was_put_aside_and_torn_is_no_record(tmp_path):
    store = written(tmp_path, [record(0)], footer=False)
    whole = msgspec.json.encode(record(2)) + b"\n"
    (store.folder / HELD).write_bytes(whole + msgspec.json.encode(record(3))[:-9])
    assert read_run(store.path).records == (record(0), record(2))
    again = Store.resume(store.path)
    again.hold([record(4)])
    again.close()
    assert read_run(store.path).records == (record(0), record(2), record(4))


@pytest.mark.parametrize("torn", [b"", b'{"type"'])
def test_a_file_without_a_header_says_that_the_run_never_began(tmp_path, torn):
    file = tmp_path / "records.jsonl"
    file.write_bytes(torn)
    with pytest.raises(ConformanceError, match=r"records\.jsonl:1: no header"):
        read_run(file)


def test_a_complete_run_is_closed_and_another_may_be_at_its_file(tmp_path):
    store = Store.create(tmp_path)
    store.begin(HEADER)
    store.add([record(0)])
    store.finish(Footer(records=1, verdicts={"pass": 1}))
    with pytest.raises(UsageError, match="nothing to resume"):  # and not that another process is at it
        Store.resume(store.path)


@pytest.mark.parametrize("footer", [True, False])
def test_a_large_run_is_read_from_the_disk_each_time_and_is_the_same(tmp_path, monkeypatch, footer):
    store = written(tmp_path, [record(number) for number in range(5)], footer=footer)
    if not footer:
        store.hold([record(6)])
        store.close()
    small = read_run(store.path)
    monkeypatch.setattr("conformance.engine.store.IN_MEMORY", 2)
    large = read_run(store.path)
    assert (type(small.records), type(large.records)) == (tuple, OnDisk)
    assert (large.header, large.footer, len(large.records)) == (small.header, small.footer, len(small.records))
    assert tuple(large.records) == tuple(large.records) == small.records
    assert (large.records[0], large.records[-1], large.records[1:3]) == (
        small.records[0],
        small.records[-1],
        small.records[1:3],
    )
    assert FORMATS["json"](large) == FORMATS["json"](small)
    with pytest.raises(IndexError):
        large.records[len(small.records)]


def test_a_complete_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UsageError, match="nothing to resume"):
        Store.resume(written(tmp_path, [record(0)]).path)


def test_a_changed_line_is_named_by_file_and_line(tmp_path):
    store = written(tmp_path, [record(0), record(1)])
    lines = store.path.read_bytes().splitlines(keepends=True)
    lines[1] = b"{broken\n"
    store.path.write_bytes(b"".join(lines))
    with pytest.raises(ConformanceError, match=r"records\.jsonl:2: this line is not a record"):
        read_run(store.path)


def test_a_line_out_of_place_is_named(tmp_path):
    store = written(tmp_path, [record(0)])
    with store.path.open("ab") as file:
        file.write(msgspec.json.encode(record(1)) + b"\n")
    with pytest.raises(ConformanceError, match="out of place"):
        read_run(store.path)


def test_no_run_is_a_usage_error_that_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="no stored run") as caught:
        read_run(tmp_path / "latest")
    assert "conformance run" in caught.value.hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_usage_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write"):
        Store.create(tmp_path / "x")
