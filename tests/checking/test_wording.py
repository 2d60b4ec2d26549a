"""The report of a check, of findings that are made up."""

from __future__ import annotations

import pytest

from conformance.backends.candidate.spec import Spec
from conformance.checking.session import Failures, Findings, Wanted
from conformance.checking.shrink import Shrunk, symptom_of
from conformance.checking.wording import findings_text, fitted
from conformance.engine.store import StoredRun
from conformance.record import Cause, Figure, Footer, Header, Record

SPEC = Spec("mine:Norm", "LayerNorm")


@pytest.fixture
def record(case_of):
    """A record of a case of LayerNorm."""

    def make(verdict="fail", *figures, reason="", size=8):
        case = case_of("LayerNorm", (4, size), steps=("train",), id=f"x::n{size}")
        return Record(
            id=case.id, key=case.key, backend=str(SPEC), op="LayerNorm", dtype="float32", verdict=verdict,
            figures=figures, reason=reason,
        )  # fmt: skip

    return make


def bad(quantity, budget=7.0, **more):
    return Figure(
        quantity=quantity, step=0, budget=budget, got="2", expected="1", index=(0, 1), ulps=3.0, exceeding=2, size=32,
        ok=False, **more,
    )  # fmt: skip


def text(*records, groups=(), causes=(), total=0, remarks=None, **wanted):
    run = StoredRun(Header(), records, Footer(records=len(records), verdicts={}, causes=tuple(causes)))
    given = Wanted(spec=wanted.pop("spec", SPEC), **wanted)
    return findings_text(Findings(given, run, records, (), tuple(groups), total or len(records), remarks or {}))


def group(*records, **more):
    return Failures(symptom_of(records[0]), records, more.pop("common", ""), **more)


def test_a_failure_is_told_with_its_worst_case_and_what_else_fails_there(record):
    small, large = record("fail", bad("output", 7.0)), record("fail", bad("output", 90.0), bad("grad.bias"), size=9)
    said = text(small, large, groups=[group(small, large, common="all where channels is odd")])
    assert "2 cases: 2 fail\n  output        2 fail, all where channels is odd\n" in said
    assert "worst: x::n9  step 0  error 90 x allowed at [0, 1]: got 2, expected 1 (3 ulp), 2 of 32 values" in said
    assert "the same cases fail in grad.bias too" in said


def test_on_a_narrow_terminal_what_is_long_goes_on_under_itself_but_commands_stay_whole(record):
    one = record("fail", bad("output"))
    said = text(one, groups=[group(one, declared=tuple(f"divergence-{n}" for n in range(3)), declared_cases=1)])
    narrow = fitted(said, 60)
    assert narrow.split() == said.split()
    (long,) = [line for line in narrow.splitlines() if len(line) > 60]
    assert long.startswith("  again         conformance run --key")
    told = narrow[narrow.index("torch's own layer") - 16 : narrow.index("  again")].splitlines()
    assert len(told) == 3
    assert all(line.startswith(" " * 16) for line in told)
    assert fitted(said, 200) == said
    assert fitted(said, 20) == said  # where there is no room, the terminal breaks the lines


def test_a_long_name_has_a_line_of_its_own(record):
    one = record("fail", bad("buffer.running_mean"))
    assert "\n  buffer.running_mean\n                1 fail\n" in text(one, groups=[group(one)])


def test_the_smallest_case_is_spelled_with_what_is_not_plain(record, case_of):
    one = record("fail", bad("output"))
    case = case_of("LayerNorm", (1, 33), "float16", eps=1e-3, steps=("train", "eval"), layout="strided")
    said = text(one, groups=[group(one, smallest=Shrunk(case, record("fail", bad("output", 3.0)), 9, hurried=True))])
    assert "smallest: shape [1, 33], float16, train+eval, eps=0.001, layout=strided (time ran out; smaller" in said
    assert "error 3 x allowed" in said


def test_torchs_own_deviations_are_told_and_excuse_nothing(record):
    one = record("fail", bad("output"))
    said = text(one, groups=[group(one, declared=("ln-half",), declared_cases=1)])
    assert "torch's own layer deviates in 1 of these cases too, as declared in ln-half" in said
    assert "1 fail" in said


def test_causes_are_named_with_what_they_mean_and_how_much_they_explain(record):
    one = record("fail", bad("output"))
    cause = Cause(
        op="LayerNorm", backend=str(SPEC), mistakes=(("eps-outside",),), says={"eps-outside": "sqrt(v) + eps"},
        cases=1, failing=1, values=32, wrong=32, facts=("only in float32",),
    )  # fmt: skip
    said = text(one, groups=[group(one)], causes=[cause])
    assert "likely cause  eps-outside: sqrt(v) + eps\n" in said
    assert "reproduces all 32 values; explains all 1 failing case" in said
    assert "what it means: conformance explain eps-outside" in said
    assert "only in float32" in said
    none = text(one, groups=[group(one)], causes=[Cause(op="LayerNorm", backend=str(SPEC), failing=1)])
    assert "likely cause  none of the known mistakes" in none


def test_what_was_not_run_is_told_by_reason_with_numbers(record):
    why = "takes no argument 'eps', and the case needs eps="
    said = text(*(record("unsupported", reason=f"{why}{value}") for value in (0.1, 1.0)), record("pass"))
    assert "not run       2 cases: takes no argument 'eps'\n" in said


def test_only_so_many_kinds_of_failure_are_shown_and_the_rest_is_counted(record):
    many = [record("error", reason=f"Error{number} in step 0: no") for number in range(11)]
    said = text(*many, groups=[group(one) for one in many])
    assert "and 3 more kinds of failure" in said


def test_a_crash_is_told_with_its_reason_and_that_the_rest_went_on(record):
    one = record("crash", reason="the worker died with SIGSEGV")
    said = text(one, groups=[group(one)])
    assert "  crash         1 crash\n" in said
    assert "such as x::n8: the worker died with SIGSEGV\n                the other cases went on" in said


def test_somebody_elses_words_cannot_colour_the_terminal(record):
    one = record("error", reason="Err in step 0: \x1b[31mred\x07")
    assert "\x1b" not in text(one, groups=[group(one)])


def test_success_says_how_much_of_the_allowance_was_used_and_of_what(record):
    fine = record("pass", Figure(quantity="output", step=0, budget=0.25))
    assert text(fine).endswith(
        "everything that ran agrees with the definition of LayerNorm; at worst 0.25 of the allowed error was used"
    )
    assert "1 case of 40 (quick): 1 pass" in text(fine, total=40, quick=True)
    blind = text(fine, spec=Spec("mine:Norm", "LayerNorm", forward_only=True))
    assert "forward only agrees with the definition" in blind


def test_a_missing_backward_cannot_be_overlooked(record):
    said = text(record("pass"), remarks={"candidate\tfunction (called); forward only: it has no backward": 1})
    assert "  FORWARD ONLY  it has no backward: gradients were NOT checked\n" in said


def test_manners_are_remarks_with_their_numbers(record):
    said = text(record("pass"), remarks={"refusal\tno exception": 3, "memory_format\tother": 1})
    assert "remarks       no exception in 3 cases in which torch raises one (count as failures with --strict)" in said
    assert "another memory format of the output than torch's in 1 case (count" in said


def test_nothing_checked_is_said(record):
    assert text(record("unsupported", reason="no")).endswith("nothing was checked")
