"""What failing cases have in common, and what the cases that pass have against it."""

from __future__ import annotations

import msgspec

from conformance.diagnose import diagnose
from conformance.record import Explanation, Fact, Figure, Record, Suspicion

OVER = Figure(quantity="output", step=0, budget=9.0, ok=False)


def a_case(case_of, number, shape=(4, 3, 5, 6), **given):
    return case_of("BatchNorm2d", shape, **({"key": f"k{number}", "id": f"case-{number}", "data": "scaled"} | given))


def told(case, *sets, verdict="fail", values=10, left=(), facts=(), faults=(), searched=True):
    explanations = tuple(Explanation(tuple(each), values, left) for each in sets)
    suspicion = Suspicion(explanations, values, faults, searched, facts)
    return msgspec.structs.replace(passed(case), verdict=verdict, figures=(OVER,), suspicion=suspicion)


def passed(case):
    return Record(
        id=case.id, key=case.key, backend="mine", op=case.op, dtype=case.dtype, verdict="pass", where="x.yaml:1"
    )


def cause(records, cases):
    (found,) = diagnose(records, cases).causes
    return found


def test_the_mistake_that_explains_every_case_is_named_and_counted(case_of):
    cases = [a_case(case_of, n) for n in range(3)]
    found = cause([told(cases[0], ["running-std"], ["running-var-biased"]), told(cases[1], ["running-var-biased"]),
                   told(cases[2], ["running-var-biased"])], cases)  # fmt: skip
    assert found.mistakes == (("running-var-biased",),)
    assert (found.cases, found.failing, found.values, found.wrong) == (3, 3, 30, 30)
    assert "n - 1" in found.says["running-var-biased"]


def test_mistakes_that_no_case_tells_apart_are_all_named(case_of):
    cases = [a_case(case_of, n) for n in range(2)]
    found = cause([told(case, ["running-std"], ["running-var-biased"]) for case in cases], cases)
    assert {frozenset(entry) for entry in found.mistakes} == {frozenset({"running-std", "running-var-biased"})}


def test_several_mistakes_of_which_each_case_shows_some_are_each_named(case_of):
    cases = [a_case(case_of, n, steps=(mode,)) for n, mode in enumerate(("train", "eval"))]
    found = cause([told(cases[0], ["bias-ignored", "momentum-swapped"]), told(cases[1], ["bias-ignored"])], cases)
    assert set(found.mistakes) == {("momentum-swapped",), ("bias-ignored",)}
    assert found.cases == 2


def test_a_mistake_that_a_passing_case_would_show_is_not_named_and_that_is_told(case_of):
    cases = [a_case(case_of, n) for n in range(3)]
    records = [told(cases[0], ["eps-missing"]), told(cases[1], ["eps-missing"]), passed(cases[2])]
    found = cause(records, [cases[0], cases[1], a_case(case_of, 2, data="f1-eps")])
    assert found.mistakes == ()
    assert "case-2 passes, where that would show" in found.facts[0]


def test_a_passing_case_that_would_not_show_it_says_nothing(case_of):
    cases = [a_case(case_of, 0), a_case(case_of, 1, steps=("eval",))]
    found = cause([told(cases[0], ["running-var-biased"]), passed(cases[1])], cases)
    assert found.mistakes == (("running-var-biased",),)


def test_what_one_case_needs_and_another_explains_without_it_is_not_named(case_of):
    cases = [a_case(case_of, n) for n in range(4)]
    records = [told(case, ["bias-ignored"]) for case in cases[:3]] + [told(cases[3], ["weight-ignored"])]
    assert ("weight-ignored",) not in cause(records, cases).mistakes


def test_a_coarser_precision_is_named_only_where_other_dtypes_pass(case_of):
    half = [a_case(case_of, n, dtype="bfloat16") for n in range(2)]
    wide = a_case(case_of, 2)
    failing = [told(case, ["computed-in-storage-format"]) for case in half]
    assert cause([*failing, passed(wide)], [*half, wide]).mistakes == (("computed-in-storage-format",),)
    assert cause(failing, half).mistakes == ()


def test_a_precision_beside_a_mistake_is_not_a_mistake(case_of):
    wide, half = a_case(case_of, 0), a_case(case_of, 1, dtype="bfloat16")
    records = [told(wide, ["bias-ignored"]), told(half, ["bias-ignored", "computed-in-storage-format"])]
    found = cause(records, [wide, half])
    assert found.mistakes == (("bias-ignored",),)
    assert found.cases == 2


def test_without_a_mistake_the_facts_that_all_share_are_told(case_of):
    cases = [a_case(case_of, n) for n in range(2)]
    fact, other = Fact("output", "times", "output is 2 times right"), Fact("output", "nan", "output has NaN")
    found = cause([told(cases[0], facts=(fact, other)), told(cases[1], facts=(fact,))], cases)
    assert found.mistakes == ()
    assert found.facts == ("output is 2 times right (in all 2 cases)",)


def test_what_sets_the_failing_cases_apart_is_told(case_of):
    bad = [a_case(case_of, n, layout="channels_last", shape=(2, 3, 5, size)) for n, size in enumerate((3, 5))]
    good = [a_case(case_of, n, shape=(2, 3, 5, size)) for n, size in enumerate((3, 4, 8), 2)]
    found = cause([*(told(case) for case in bad), *(passed(case) for case in good)], [*bad, *good])
    assert "fails only where layout is channels_last (2 cases), passes in all 3 others" in found.facts


def test_a_size_that_is_no_multiple_of_a_block_is_told(case_of):
    bad = [a_case(case_of, n, shape=(1, 3, 1, size)) for n, size in enumerate((33, 35, 99))]
    good = [a_case(case_of, n, shape=(1, 3, 1, size)) for n, size in enumerate((32, 64, 128), 3)]
    found = cause([*(told(case) for case in bad), *(passed(case) for case in good)], [*bad, *good])
    assert any("is not a multiple of 32" in fact for fact in found.facts)


def test_faults_of_structure_are_named_beside_mistakes(case_of):
    cases = [a_case(case_of, 0)]
    found = cause([told(cases[0], ["running-var-biased"], faults=("input-modified",))], cases)
    assert found.mistakes == (("running-var-biased",), ("input-modified",))


def test_ops_and_backends_are_diagnosed_by_themselves(case_of):
    one, other = a_case(case_of, 0), case_of("LayerNorm", (6, 13), key="l", id="l")
    found = diagnose([told(one, ["bias-ignored"]), told(other, ["eps-missing"])], [one, other])
    assert [(each.op, each.mistakes) for each in found.causes] == [
        ("BatchNorm2d", (("bias-ignored",),)),
        ("LayerNorm", (("eps-missing",),)),
    ]
    assert "bias-ignored: w xh in place of w xh + b" in str(found)


def test_a_run_without_failures_has_no_causes(case_of):
    case = a_case(case_of, 0)
    assert diagnose([passed(case)], [case]).causes == ()


def test_a_precision_may_be_left_by_the_few_cases_that_show_an_overflow_of_float16(case_of):
    half = [a_case(case_of, n, dtype="float16") for n in range(5)]
    wide = a_case(case_of, 5)
    inside = [told(case, ["computed-in-storage-format"]) for case in half[:4]]
    overflown = msgspec.structs.replace(told(half[4]), figures=(msgspec.structs.replace(OVER, got="-inf"),))
    found = cause([*inside, overflown, passed(wide)], [*half, wide])
    assert found.mistakes == (("computed-in-storage-format",),)
    assert (found.cases, found.failing) == (4, 5)
    assert "in 1 case of float16 values leave the range of the format" in found.facts[0]
    for others in (
        [told(half[4])],  # off, and within the range
        [overflown, *(msgspec.structs.replace(overflown, id=f"more-{n}", key=f"more-{n}") for n in range(2))],
    ):
        assert cause([*inside, *others, passed(wide)], [*half, wide]).mistakes == ()
