"""Cases written as case files."""

from __future__ import annotations

import pytest

from conformance.checking.found import case_text, name_of, save
from conformance.errors import UsageError
from conformance.suite.case import DESCRIPTIVE, Case
from conformance.suite.loader import load_suite

CONTENT = [name for name in Case.__struct_fields__ if name not in DESCRIPTIVE and name != "tolerance"]


def test_every_case_comes_back_as_it_was_written(shipped, tmp_path):
    for place, case in enumerate(shipped[::7]):
        (tmp_path / f"f{place}.yaml").write_text(case_text(case, "A test."))
    back = load_suite([tmp_path])
    assert len(back.cases) == len(shipped[::7])
    by_key = {case.key: case for case in back.cases}
    for case in shipped[::7]:
        again = by_key[case.key]
        assert all(getattr(again, name) == getattr(case, name) for name in CONTENT), case.id


def test_what_is_plain_is_not_written(case_of):
    case = case_of("LayerNorm", (1, 33), steps=("train",))
    text = case_text(case, 'It said "no".')
    assert text.splitlines() == [
        "spec: 1",
        "op: LayerNorm",
        'about: "It said \\"no\\"."',
        "cases:",
        f"  - id: {name_of(case)}",
        "    shape: [1, 33]",
        "    steps: [train]",
    ]


def test_it_is_saved_under_the_name_of_the_case(shipped, tmp_path):
    file = save(shipped[0], "A test.", tmp_path / "cases" / "found")
    assert file == tmp_path / "cases" / "found" / f"{name_of(shipped[0])}.yaml"
    assert load_suite([file]).cases[0].key == shipped[0].key


def test_a_folder_that_cannot_be_written_is_a_usage_error(shipped, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="cannot write"):
        save(shipped[0], "A test.", tmp_path / "taken")
