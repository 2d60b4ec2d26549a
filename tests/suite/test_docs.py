"""The examples and the tables of docs/case-files.md are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.suite import limits
from conformance.suite.data_families import DATA
from conformance.suite.loader import load_suite
from conformance.suite.problems import CaseFileError
from conformance.suite.schema import CaseFile, DivergenceEntry, Fields, GroupEntry, RuleEntry
from conformance.suite.when import FIELDS, OPERATORS, RUNTIME

TEXT = (Path(__file__).parents[2] / "docs" / "case-files.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
GOOD = [block for kind, block in BLOCKS if kind == "yaml" and not block.startswith("# broken")]
HEAD = "spec: 1\nop: BatchNorm2d\ndefaults: {shape: [4, 3, 5, 6]}\n"


@pytest.mark.parametrize("block", GOOD)
def test_each_example_loads(block: str, tmp_path: Path) -> None:
    file = tmp_path / "batch_norm.yaml"
    file.write_text(block if "spec:" in block else HEAD + block)
    suite = load_suite([file])
    assert suite.cases
    assert all(case.divergences for case in suite.cases if "train" in case.steps and suite.divergences)


def test_the_broken_example_gives_the_shown_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (broken,) = (block for kind, block in BLOCKS if kind == "yaml" and block not in GOOD)
    (shown,) = (block for kind, block in BLOCKS if kind == "text")
    Path("bad.yaml").write_text(broken)
    with pytest.raises(CaseFileError) as caught:
        load_suite([Path("bad.yaml")])
    assert str(caught.value) == shown.rstrip("\n")


def test_the_id_of_the_text_is_that_of_a_case(tmp_path: Path) -> None:
    file = tmp_path / "batch_norm.yaml"
    file.write_text(HEAD + GOOD[1])
    assert "batch_norm::precision[float16,wide]" in {case.id for case in load_suite([file]).cases}
    assert "`batch_norm::precision[float16,wide]`" in TEXT


@pytest.mark.parametrize("struct", [CaseFile, Fields, GroupEntry, RuleEntry, DivergenceEntry])
def test_every_key_of_the_format_is_described(struct: type) -> None:
    for name in struct.__struct_fields__:
        assert f"`{name}" in TEXT, name


def test_every_key_and_operator_of_conditions_is_described() -> None:
    fields_by_range = {"params", "buffers", "steps", "seed", "robustness"}
    for name in {*OPERATORS, *RUNTIME, *FIELDS} - fields_by_range:
        assert f"`{name}`" in TEXT or f"{{{name}:" in TEXT, name


def test_the_limits_are_those_of_the_code() -> None:
    for limit in (limits.NODES, limits.CASES_PER_FILE, limits.ELEMENTS):
        assert f"{limit:,}" in TEXT
    assert f"{limits.FILE_BYTES >> 20} MiB, {limits.DEPTH} levels" in TEXT
    assert f"at most {limits.RANK} axes" in TEXT
    assert f"1 to {limits.STEPS} of them" in TEXT


def test_the_data_generators_of_the_table_exist() -> None:
    assert {"normal", "scaled", "f1-eps"} <= set(DATA)
