from __future__ import annotations

import msgspec
import pytest
from conformance_fakes import make_case
from killable_run import Quiet

from conformance.engine import shards
from conformance.engine.plan import Plan
from conformance.engine.run import How, run
from conformance.engine.store import Store, read_run
from conformance.errors import InternalError, NothingSelected, UsageError
from conformance.record import Header

ABOUTS = ("", "judge-fail", "unsupported", "raise", "judge-known")
CASES = tuple(make_case(n, ABOUTS[n % 5], op=("LayerNorm", "GroupNorm", "RMSNorm")[n // 8]) for n in range(23))
SAMPLE = {"fake-b": frozenset(case.key for case in CASES[::3])}
PLAN = Plan(CASES, ("fake-a", "fake-b"), SAMPLE)


def carry_out(plan, root, extra=()):
    how = How(in_process=True, tools="conformance_fakes:tools")
    return run(plan, Store.create(root), Header(conformance="1", command="run", extra=dict(extra)), Quiet(), how)


def part(plan, text, root):
    cut, shard = shards.cut(plan, shards.parse(text))
    return carry_out(cut, root, {shards.SHARD: msgspec.to_builtins(shard), "wish": {"slow": True}}).path


def merge(paths, root):
    fitting = shards.fitting([shards.open_part(path) for path in paths])
    return read_run(shards.merge(fitting, Store.create(root), Header(conformance="1", command="merge")))


def timeless(run_):
    return [msgspec.json.encode(msgspec.structs.replace(record, seconds=0.0)) for record in run_.records]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 23])
def test_merged_parts_are_the_run_that_was_not_cut(tmp_path, count):
    whole = carry_out(PLAN, tmp_path / "whole", {"wish": {"slow": True}})
    parts = [part(PLAN, f"{number}/{count}", tmp_path / str(number)) for number in range(1, count + 1)]
    merged = merge(reversed(parts), tmp_path / "merged")
    assert timeless(merged) == timeless(whole)
    assert merged.footer.verdicts == whole.footer.verdicts
    same = {"command": "", "extra": {}}
    assert msgspec.structs.replace(merged.header, **same) == msgspec.structs.replace(whole.header, **same)
    assert merged.header.extra == {"wish": {"slow": True}, "merged": [str(path.parent) for path in parts]}


def test_a_merged_run_began_with_the_first_of_its_parts(tmp_path):
    folders = []
    for number, day in ((1, "03"), (2, "02")):
        cut, shard = shards.cut(PLAN, shards.parse(f"{number}/2"))
        header = Header(started=f"2025-01-{day}", extra={shards.SHARD: msgspec.to_builtins(shard)})
        how = How(in_process=True, tools="conformance_fakes:tools")
        folders.append(run(cut, Store.create(tmp_path / str(number)), header, Quiet(), how).path)
    assert merge(folders, tmp_path / "merged").header.started == "2025-01-02"


def test_cases_that_a_sample_sends_nowhere_do_not_disturb_the_order(tmp_path):
    plan = Plan(CASES, ("fake-b",), SAMPLE)
    parts = [part(plan, f"{number}/3", tmp_path / str(number)) for number in (1, 2, 3)]
    assert timeless(merge(parts, tmp_path)) == timeless(carry_out(plan, tmp_path / "whole"))


def test_every_case_is_in_exactly_one_part():
    cut = [shards.cut(PLAN, shards.parse(f"{number}/4"))[0].cases for number in (1, 2, 3, 4)]
    assert sorted(case.id for cases in cut for case in cases) == sorted(case.id for case in CASES)
    assert max(map(len, cut)) - min(map(len, cut)) <= 1


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/0", "-1/2", "1/2/3", "a/b", "1/99999", "1/3 "])
def test_what_is_no_part_is_told_with_an_example(text):
    with pytest.raises(UsageError, match="is not a part of a run") as caught:
        shards.parse(text)
    assert "1/4" in caught.value.hint


def test_a_part_without_a_case_says_so():
    with pytest.raises(NothingSelected, match="part 24/24 holds no case: 23 are selected"):
        shards.cut(PLAN, shards.parse("24/24"))


def test_fewer_cases_than_parts_can_still_be_merged(tmp_path):
    plan = Plan(CASES[:2], ("fake-a",))
    parts = [part(plan, f"{number}/5", tmp_path / str(number)) for number in (1, 2)]
    assert len(merge(parts, tmp_path).records) == 2


def changed(path, **fields):
    """The part with another header."""
    lines = path.read_bytes().splitlines(keepends=True)
    header = msgspec.structs.replace(msgspec.json.decode(lines[0], type=Header), **fields)
    path.write_bytes(msgspec.json.encode(header) + b"\n" + b"".join(lines[1:]))


@pytest.fixture
def halves(tmp_path):
    return [part(PLAN, f"{number}/2", tmp_path / str(number)) for number in (1, 2)]


def test_an_absent_part_is_named_with_the_command_that_makes_it(halves, tmp_path):
    with pytest.raises(UsageError, match="of 2 parts 1 is absent: 2") as caught:
        merge(halves[:1], tmp_path)
    assert "--shard 2/2" in caught.value.hint


def test_a_part_given_twice_is_told(halves, tmp_path):
    with pytest.raises(UsageError, match="part 2/2 is given twice"):
        merge([*halves, halves[1]], tmp_path)


def test_a_whole_run_is_no_part(tmp_path):
    with pytest.raises(UsageError, match="is a whole run, not a part"):
        merge([carry_out(PLAN, tmp_path).path], tmp_path)


def test_an_interrupted_part_is_told_with_the_command_that_finishes_it(halves, tmp_path):
    halves[0].write_bytes(halves[0].read_bytes()[:-30])
    with pytest.raises(UsageError, match="part 1/2 was interrupted") as caught:
        merge(halves, tmp_path)
    assert f"--resume {halves[0].parent}" in caught.value.hint


def test_parts_of_different_suites_are_refused(halves, tmp_path):
    other = part(Plan(CASES[1:], PLAN.backends, SAMPLE), "2/2", tmp_path / "other")
    with pytest.raises(UsageError, match=r"parts of different runs.* differ in their suites"):
        merge([halves[0], other], tmp_path)


def test_parts_of_runs_cut_otherwise_are_refused(halves, tmp_path):
    other = part(PLAN, "2/3", tmp_path / "other")
    with pytest.raises(UsageError, match="differ in their numbers of parts: 2 and 3"):
        merge([halves[0], other], tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"versions": {"fake": "2.0"}}, "differ in their versions: fake 1.0 and 2.0, numpy .* and absent"),
        ({"missing": {"fake-b": "no device"}}, "differ in their missing backends: fake-b absent and no device"),
        ({"conformance": "2"}, "differ in their versions of conformance: 1 and 2"),
    ],
)
def test_parts_made_with_different_versions_are_refused(halves, tmp_path, fields, words):
    changed(halves[1], **fields)
    with pytest.raises(UsageError, match=words):
        merge(halves, tmp_path)


def test_a_part_that_lost_a_record_does_not_add_up(halves, tmp_path):
    lines = halves[1].read_bytes().splitlines(keepends=True)
    halves[1].write_bytes(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(InternalError, match="records of 2 parts do not add up"):
        merge(halves, tmp_path)
