"""The examples say of themselves what is so: the right one, the six mistakes, and the output in the README."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from conformance import CheckFailed, check
from conformance.checking.wording import findings_text

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
SMALL = "fresh-buffers or f2-small-n or semantics"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def findings(name, **wanted):
    try:
        return check(f"examples/{name}", like="BatchNorm2d", in_process=True, shrink_seconds=0, **wanted)
    except CheckFailed as failed:
        return failed.findings


def named(found):
    return {name for cause in found.causes for entry in cause.mistakes for name in entry}


# ---- the right one ---------------------------------------------------------------------------------------------------


@cache
def right():
    return findings("batch_norm_scratch.py:BatchNorm", dtypes=("float32",))


def test_the_right_one_fails_where_its_documented_convention_differs_and_nowhere_else():
    found = right()
    cases = {case.key: case for case in found.cases}
    for record in found.records:
        case = cases[record.key]
        lacks = (
            not case.args["affine"]
            or not case.args["track_running_stats"]
            or not case.args["bias"]
            or case.args["momentum"] is None
        )
        empty = 0 in case.shape and "train" in case.steps
        expected = "unsupported" if lacks else "error" if empty else "pass"
        assert record.verdict == expected, (record.id, record.reason)
    assert found.counts["pass"] > 100
    assert found.counts["error"] >= 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_the_right_one_is_right_in_every_precision(dtype):
    found = findings(
        "batch_norm_scratch.py:BatchNorm", dtypes=(dtype,), keyword="fresh-buffers or f2-small-n or sgd-half"
    )
    assert found.counts["pass"] >= 6
    assert not found.failures


# ---- the mistaken one ------------------------------------------------------------------------------------------------

TOLD = {
    "PerPixel": {"batch-norm-per-pixel", "running-buffers-per-pixel"},
    "SwappedAverages": {"running-buffers-exchanged"},
    "MomentumKeeps": {"momentum-swapped"},
    "BiasedAverage": {"running-var-biased"},
    "VarianceFromZero": {"running-var-from-zero"},
}


@pytest.mark.parametrize("mistaken", TOLD)
def test_each_mistake_is_told_by_its_name_and_no_other(mistaken):
    found = findings(f"batch_norm_mistaken.py:{mistaken}", dtypes=("float32",), keyword=SMALL)
    assert found.failures
    assert named(found) == TOLD[mistaken]


def test_averages_that_are_plain_attributes_are_told():
    found = findings("batch_norm_mistaken.py:PlainAttributes", dtypes=("float32",), keyword="f2-small-n")
    assert "running_mean = moving_mean (known name, reshaped, attribute, so missing from the state_dict)" in (
        findings_text(found)
    )


def test_all_of_them_are_told_in_one_run():
    found = findings("batch_norm_mistaken.py:AllOfThem", dtypes=("float32",), keyword=SMALL)
    assert named(found) == set().union(*TOLD.values()) | {"state-missing-from-state-dict"}
    (cause,) = found.causes
    assert cause.cases == cause.failing


def test_the_table_of_the_readme_names_what_is_told():
    for mistaken, names in TOLD.items():
        (row,) = (line for line in README.splitlines() if line.startswith(f"| `{mistaken}`"))
        assert names <= set(re.findall(r"`([a-z-]+)`", row.rsplit("|", 2)[1]))


# ---- the output in the README ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", re.findall(r"```text\n(.*?)```", README, re.DOTALL))
def test_the_output_in_the_readme_is_real(block):
    first, *lines = block.splitlines()
    words = shlex.split(first)
    assert words[:3] == ["$", "conformance", "check"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    name = words[3].removeprefix("examples/")
    plain = name.startswith("batch_norm_scratch") and set(options) == {"--like", "--dtype"}
    found = right() if plain else findings(name, dtypes=(options["--dtype"],), keyword=options["-k"])
    shown = findings_text(found).splitlines()
    assert len(lines) > 8
    for line in lines:
        assert line == "..." or line in shown
