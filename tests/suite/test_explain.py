from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.suite.problems import CaseFileError

BROKEN = """\
spec: 1
op: BatchNorm2d
defaults:
  shape: [4, 3, 5, 6]
  dtype: flaot32
  args: {affine: yes, track_runing_stats: true}
groups:
  - id: shapes
    vary:
      shape: {odd: [5, 7, -1, 2]}
"""


def test_all_errors_are_shown_at_once_with_place_path_and_remedy(load: Callable[..., object]) -> None:
    with pytest.raises(CaseFileError) as caught:
        load(BROKEN)
    assert str(caught.value) == (
        "a.yaml:5:10     defaults.dtype                 'flaot32' is not a dtype; did you mean 'float32'?\n"
        "a.yaml:6:18     defaults.args.affine           affine takes true or false, not 'yes'; write true\n"
        "a.yaml:6:23     defaults.args                  unknown 'track_runing_stats'; did you mean"
        " 'track_running_stats'?\n"
        "a.yaml:10:27    groups[0].vary.shape.odd[2]    -1 must not be negative\n"
        "4 errors in 1 file; no case was run"
    )
    assert caught.value.exit_code == 4


def test_errors_of_several_files_are_shown_together(problems: Callable[..., list[str]]) -> None:
    assert len(problems("groupz: []\n", "cases: 3\n")) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stepz: 1\n", "3:1 (file) 'stepz' is not a field"),
        ("defaults: {step: [train]}\n", "3:12 defaults 'step' is not a field; did you mean 'steps'?"),
        ("defaults: {steps: []}\n", "3:19 defaults.steps 0 entries where at least 1 is expected"),
        ("defaults: {shape: 3}\n", "3:19 defaults.shape expected a list or a mapping, not 3"),
        ("defaults: {requires_grad: on}\n", "3:27 defaults.requires_grad expected true or false"),
        ("defaults: {requires_grad: on}\n", "not 'on'; write true"),
        ("defaults: {seed: 1.0}\n", "3:18 defaults.seed expected an integer or a mapping, not 1.0"),
        ("defaults: {layout: chanels_last}\n", "'chanels_last' is not a layout; did you mean 'channels_last'?"),
        ("defaults: {seed: {a: 1, b: 2}}\n", "several values belong in the vary of a group"),
        ("defaults: {seed: {a b: 1}}\n", "3:19 defaults.seed 'a b' is no label"),
        ("defaults: {raises: {type: ValueError}}\n", "3:20 defaults.raises 'match' is missing"),
        ("defaults: {tolerance: {output: {rtol: -1}}}\n", "defaults.tolerance.output.rtol -1 must not be negative"),
        ("defaults: {tolerance: {output: {budget: 0}}}\n", "0 must be above 0"),
        ("groups:\n  - id: a\n    combine: pair\n", "is not a way to combine; did you mean 'pairwise'?"),
        ("groups: {id: a}\n", "3:9 groups expected a list, not {'id': 'a'}"),
        ("cases:\n  - shape: [1]\n", "4:5 cases[0] 'id' is missing"),
    ],
)
def test_each_kind_of_misfit_is_told_in_words(problems: Callable[..., list[str]], text: str, expected: str) -> None:
    assert any(expected in found for found in problems(text)), problems(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [("", "is empty"), ("[]", "holds []"), ("3", "holds 3"), ("null", "is empty"), ("a string", "holds 'a string'")],
)
def test_a_file_that_is_no_mapping_says_so(problems: Callable[..., list[str]], text: str, holds: str) -> None:
    (found,) = problems("# whole\n" + text)
    assert f"the file {holds}; expected a mapping with spec: 1, op: NAME, and groups or cases" in found


def test_an_unknown_version_of_the_format_is_refused(problems: Callable[..., list[str]]) -> None:
    assert problems("spec: 2\nop: LayerNorm\ncases: [{id: a, shape: [2, 3]}]\n") == ["1:7 spec 2: expected 1"]
