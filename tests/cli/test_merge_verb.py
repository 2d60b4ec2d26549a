from __future__ import annotations

from conformance.engine.store import read_run


def test_parts_run_one_by_one_are_merged_and_reported_as_one_run(run_fakes, call, case_file, tmp_path):
    file = str(case_file("", "judge-fail", "", "unsupported", ""))
    whole = run_fakes(file)
    first = run_fakes(file, "--shard", "1/2")
    assert "part 1 of 2; join the parts with: conformance merge" in first.out
    one = read_run(tmp_path / ".conformance" / "latest").path.parent
    run_fakes(file, "--shard", "2/2")
    two = read_run(tmp_path / ".conformance" / "latest").path.parent
    merged = call("merge", str(one), str(two))
    assert (merged.code, whole.code) == (1, 1)
    assert counts(merged.out) == counts(whole.out)
    assert "part 1 of 2" not in merged.out
    assert "5 cases x 3 backends" in merged.out
    assert counts(call("report").out) == counts(whole.out)


def counts(text):
    (line,) = [line for line in text.splitlines() if "records" in line and " = " in line]
    return line


def test_an_interrupted_part_is_resumed_as_that_part(run_fakes, case_file, tmp_path):
    file = case_file("", "", "interrupt", "", "")
    only = ("--backend", "torch-cpu")
    assert run_fakes(str(file), *only, "--shard", "1/2", "--in-process").code == 2
    file.write_text(file.read_text().replace("interrupt", ""))
    resumed = run_fakes("--resume")
    assert resumed.code == 0, resumed
    assert "3 pass  = 3 records" in resumed.out


def test_the_wrong_parts_end_in_4_without_a_trace(run_fakes, call, case_file):
    run_fakes(str(case_file("", "")), "--shard", "1/2")
    ended = call("merge", ".conformance/latest")
    assert ended.code == 4
    assert "--shard 2/2" in ended.err
    assert run_fakes("--resume", "--shard", "1/2").code == 4
    assert run_fakes("some.yaml", "--shard", "3/2").code == 4
    assert "no stored run at nowhere" in call("merge", "nowhere").err
