"""From figures to a verdict: what passes, what is known, what is no longer seen, what is a bad case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.judge.structure import expected_structure
from conformance.judge.verdict import describe, figures_of
from conformance.observation import Observation, Raised, StepObservation
from conformance.suite.case import Divergence, Origin, Raises, Tolerance
from references.rounding import STORAGE

STEPS = ("train", "train", "eval")


def perfect(case, expectation):
    """The observation of a layer that computes exactly and rounds once on store."""
    return Observation(
        tuple(
            StepObservation(
                {name: q.value.astype(STORAGE[q.stored]) for name, q in step.quantities.items()},
                expected_structure(case),
            )
            for step in expectation.steps()
        )
    )


def changed(observation, step, name, change):
    """The same observation with one array changed."""
    steps = list(observation.steps)
    arrays = {**steps[step].arrays, name: change(steps[step].arrays[name].copy())}
    steps[step] = StepObservation(arrays, steps[step].structure)
    return replace(observation, steps=tuple(steps))


def divergence(**given):
    fields = {"id": "known-one", "when": {}, "why": "it is so", "origin": Origin("d.yaml", 7, 5)}
    return Divergence(**{**fields, **given})


@pytest.fixture
def batch_norm(case_of):
    case = case_of("BatchNorm2d", (3, 4, 2, 3), "float32", data="scaled", steps=STEPS)
    expectation = Expectation(case, make_inputs(case))
    return case, expectation, perfect(case, expectation)


# ---- agreement and deviation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("op", "shape", "arguments"),
    [
        ("BatchNorm2d", (3, 4, 2, 3), {"steps": STEPS}),
        ("LayerNorm", (4, 7), {}),
        ("InstanceNorm1d", (3, 4, 5), {"track_running_stats": True, "steps": STEPS}),
        ("RMSNorm", (4, 7), {}),
        ("LocalResponseNorm", (2, 5, 3), {}),
        ("BatchNorm1d", (0, 3), {}),
        ("LayerNorm", (4, 7), {"data": "f10-nan"}),
    ],
)
def test_the_rounded_reference_passes(case_of, op, shape, arguments, dtype):
    case = case_of(op, shape, dtype, **{"data": "scaled"} | arguments)
    expectation = Expectation(case, make_inputs(case))
    judgement = judge(case, expectation, perfect(case, expectation))
    assert (judgement.verdict, judgement.reason, judgement.divergence) == ("pass", "", "")
    names = {figure.quantity for figure in judgement.figures}
    assert names == set(expectation.steps()[0].quantities) | set(expected_structure(case))
    assert all(figure.budget is None or figure.budget <= 1 for figure in judgement.figures)


def test_one_wrong_element_in_one_step_fails_and_is_told(batch_norm):
    case, expectation, observation = batch_norm

    def off(y):
        y[1, 2, 0, 1] += 0.01
        return y

    judgement = judge(case, expectation, changed(observation, 1, "output", off))
    assert judgement.verdict == "fail"
    worst = judgement.figures[0]
    assert (worst.quantity, worst.step, worst.index, worst.exceeding, worst.ok) == ("output", 1, (1, 2, 0, 1), 1, False)
    assert len(worst.budgets) == 3
    assert [budget > 1 for budget in worst.budgets] == [False, True, False]
    assert judgement.reason == describe(worst)
    assert "step 1 output: error " in judgement.reason
    assert "x allowed at [1, 2, 0, 1]" in judgement.reason
    assert "1 of 72 values" in judgement.reason


def test_figures_come_worst_first_with_what_is_no_number_before_all(batch_norm):
    case, expectation, observation = batch_norm
    worse = changed(observation, 0, "grad_input", lambda g: g * np.float32(1.01))
    worse = changed(worse, 2, "grad.bias", lambda g: g * np.float32(1.5))
    worse = changed(worse, 1, "buffer.num_batches_tracked", lambda n: n + 1)
    figures = judge(case, expectation, worse).figures
    assert figures[0].quantity == "buffer.num_batches_tracked"
    assert [figure.quantity for figure in figures if not figure.ok][1:] == ["grad.bias", "grad_input"]
    assert describe(figures[0]).startswith("step 1 buffer.num_batches_tracked: got 10, expected 9")


def test_a_quantity_that_is_missing_fails_and_one_that_nobody_asked_for_does_not(batch_norm, case_of):
    case, expectation, observation = batch_norm
    steps = [StepObservation({k: v for k, v in s.arrays.items() if k != "grad_input"}) for s in observation.steps]
    without = Observation(tuple(steps))
    judgement = judge(case, expectation, without)
    assert judgement.verdict == "fail"
    assert judgement.reason == "step 0 grad_input: got nothing, expected an array"
    assert judge(case, expectation, without, observes=("output", "buffer")).verdict == "pass"
    frozen = case_of("BatchNorm2d", case.shape, "float32", data="scaled", steps=STEPS, requires_grad=False)
    expectation = Expectation(frozen, make_inputs(frozen))
    complete = perfect(frozen, expectation)
    steps = [StepObservation({k: v for k, v in s.arrays.items() if k != "grad_input"}) for s in complete.steps]
    assert judge(frozen, expectation, Observation(tuple(steps))).verdict == "pass"
    names = {figure.quantity for figure in judge(frozen, expectation, complete).figures}
    assert names >= {"output", "grad.weight", "grad.bias", "buffer.running_var"}, "the rest is asked for all the same"
    off = changed(complete, 2, "output", lambda y: y * np.float32(1.01))
    assert judge(frozen, expectation, off).verdict == "fail"


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("dtype", "float64"),
        ("shape", "3x4x2"),
        ("input_modified", "yes"),
        ("state_dict", "weight,bias"),
        ("memory_format", "channels_last"),
    ],
)
def test_a_wrong_structure_fails(batch_norm, name, got):
    case, expectation, observation = batch_norm
    last = observation.steps[-1]
    steps = (*observation.steps[:-1], StepObservation(last.arrays, {**last.structure, name: got}))
    judgement = judge(case, expectation, Observation(steps))
    assert judgement.verdict == "fail"
    assert judgement.reason == f"step 2 {name}: got {got}, expected {expected_structure(case)[name]}"


def test_an_explicit_tolerance_of_the_case_decides(case_of):
    tolerance = {"output": Tolerance(atol=0.1, origin="x.yaml:31")}
    case = case_of("LayerNorm", (4, 7), "float32", tolerance=tolerance)
    expectation = Expectation(case, make_inputs(case))
    off = changed(perfect(case, expectation), 0, "output", lambda y: y + np.float32(0.09))
    judgement = judge(case, expectation, off)
    assert judgement.verdict == "pass"
    assert {f.source for f in judgement.figures if f.quantity == "output"} == {"tolerance, x.yaml:31"}
    assert judge(case, expectation, changed(off, 0, "output", lambda y: y + np.float32(0.09))).verdict == "fail"


# ---- bad cases and exceptions ---------------------------------------------------------------------------------------


def test_a_case_that_is_mostly_undetermined_is_a_bad_case_unless_robustness_is_its_subject(case_of):
    case = case_of("LayerNorm", (4, 7), "float32", data="f10-constant", eps=1e-18)
    expectation = Expectation(case, make_inputs(case))
    judgement = judge(case, expectation, perfect(case, expectation))
    assert judgement.verdict == "error"
    assert "bad case: 100% of its slices are undetermined" in judgement.reason
    robust = case_of("LayerNorm", (4, 7), "float32", data="f10-constant", eps=1e-18, robustness=True)
    assert judge(robust, expectation, perfect(robust, expectation)).verdict == "pass"


def test_one_step_that_is_mostly_undetermined_makes_a_bad_case(case_of):
    """The buffers that an eval step takes are determined, whatever the batch."""
    fields = {"data": "f10-constant", "eps": 1e-18}
    one, both = (case_of("BatchNorm1d", (6, 3), steps=steps, **fields) for steps in (("eval",), ("eval", "train")))
    for case, verdict in ((one, "pass"), (both, "error")):
        expectation = Expectation(case, make_inputs(case))
        assert judge(case, expectation, perfect(case, expectation)).verdict == verdict


def test_a_fifth_undetermined_is_still_a_good_case(case_of):
    case = case_of("LayerNorm", (5, 7), "float32", data="constant-slice", eps=1e-18)
    expectation = Expectation(case, make_inputs(case))
    assert expectation.undetermined() == pytest.approx(0.2)
    assert judge(case, expectation, perfect(case, expectation)).verdict == "pass"


REFUSAL = Raises("ValueError", "more than 1 value")


@pytest.mark.parametrize(
    ("raised", "verdict", "words"),
    [
        (Raised("ValueError", "Expected more than 1 value per channel", 0), "pass", ""),
        (Raised("TypeError", "Expected more than 1 value", 0), "fail", "got TypeError in step 0"),
        (Raised("ValueError", "something else\nand more", -1), "fail", "ValueError in construction: something else"),
        (None, "fail", "got no exception"),
    ],
)
def test_a_case_that_must_raise_passes_on_that_exception_alone(case_of, raised, verdict, words):
    case = case_of("BatchNorm1d", (1, 3), raises=REFUSAL)
    judgement = judge(case, Expectation(case, make_inputs(case)), Observation((), raised))
    assert judgement.verdict == verdict
    assert words in judgement.reason
    assert "and more" not in judgement.reason


def test_a_refusal_that_does_not_come_may_be_known(case_of):
    case = case_of("BatchNorm1d", (1, 3), raises=REFUSAL)
    expectation = Expectation(case, make_inputs(case))
    silent = judge(case, expectation, Observation(()), divergences=[divergence()])
    assert (silent.verdict, silent.divergence) == ("known", "known-one")
    assert silent.reason == "it is so (got no exception)"
    other = Observation((), Raised("TypeError", "no", 0))
    assert judge(case, expectation, other, divergences=[divergence()]).verdict == "fail"
    declared = divergence(raises=Raises("TypeError", "no"))
    assert judge(case, expectation, other, divergences=[declared]).verdict == "known"
    for elsewhere in (Raises("KeyError", "no"), Raises("TypeError", "yes")):
        assert judge(case, expectation, other, divergences=[divergence(raises=elsewhere)]).verdict == "fail"


@pytest.mark.parametrize(
    "of_values",
    [{"size": {"output": (0, 1)}}, {"precision": "B"}, {"reference": "onnx"}, {"quantities": ("output",)}],
)
def test_what_is_declared_of_values_excuses_no_refusal_that_does_not_come(case_of, of_values):
    case = case_of("BatchNorm1d", (1, 3), raises=REFUSAL)
    expectation = Expectation(case, make_inputs(case))
    assert judge(case, expectation, Observation(()), divergences=[divergence(**of_values)]).verdict == "fail"


def test_an_exception_where_the_definition_has_a_value_is_an_error_unless_it_is_known(batch_norm):
    case, expectation, _ = batch_norm
    raised = Observation((), Raised("RuntimeError", "not implemented for 'Half'\nmore", 1))
    judgement = judge(case, expectation, raised)
    assert judgement.verdict == "error"
    assert judgement.reason == "RuntimeError in step 1: not implemented for 'Half'; the definition has a value here"
    known = judge(case, expectation, raised, divergences=[divergence(raises=Raises("RuntimeError", "Half"))])
    assert (known.verdict, known.divergence) == ("known", "known-one")
    assert (
        judge(case, expectation, raised, divergences=[divergence(raises=Raises("RuntimeError", "x"))]).verdict
        == "error"
    )


# ---- divergences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "verdict", "words"),
    [
        ((0.1, 50.0), "known", "it is so"),
        ((1e-3, 0.45), "fail", "allows 0.45 of the data, this is 0.5"),
        ((0.55, 50.0), "fail", "declares at least 0.55 of the data, this is 0.5: narrow its range"),
    ],
)
def test_a_divergence_explains_a_deviation_of_the_size_that_it_declares(batch_norm, size, verdict, words):
    case, expectation, observation = batch_norm
    half = changed(observation, 0, "output", lambda y: y * np.float32(1.5))
    judgement = judge(case, expectation, half, divergences=[divergence(size={"output": size})])
    assert judgement.verdict == verdict
    assert words in judgement.reason
    assert judgement.divergence == ("known-one" if verdict == "known" else "")


def test_a_divergence_covers_the_quantities_that_it_names_and_no_other(batch_norm):
    case, expectation, observation = batch_norm
    both = changed(observation, 0, "output", lambda y: y * np.float32(1.5))
    both = changed(both, 0, "grad_input", lambda g: g * np.float32(1.5))
    of_output = divergence(size={"output": (0.1, 50)})
    assert judge(case, expectation, both, divergences=[of_output]).verdict == "fail"
    of_gradient = divergence(id="known-two", size={"grad_input": (0.1, 50)})
    judgement = judge(case, expectation, both, divergences=[of_output, of_gradient])
    assert judgement.verdict == "known"
    assert set(judgement.divergence.split(",")) == {"known-one", "known-two"}


def test_nan_is_beyond_every_declared_size(batch_norm):
    case, expectation, observation = batch_norm
    nan = changed(observation, 0, "output", lambda y: y * np.float32(np.nan))
    assert judge(case, expectation, nan, divergences=[divergence(size={"output": (0.1, 1e30)})]).verdict == "fail"


def test_the_size_of_a_deviation_is_its_largest_over_all_steps_even_where_it_is_infinite(case_of):
    """Step 0 has a reference of zero, so any error is infinitely large beside it; step 1 is worse by its budget."""
    case = case_of("BatchNorm1d", (6, 3), "float32", affine=False, steps=("train", "train"))
    expectation = Expectation(case, make_inputs(case))
    first = expectation.steps()[0].quantities
    first["output"] = replace(first["output"], value=np.zeros_like(first["output"].value))
    off = changed(perfect(case, expectation), 0, "output", lambda y: y + np.float32(1e-2))
    off = changed(off, 1, "output", lambda y: y * np.float32(1.5))
    assert judge(case, expectation, off, divergences=[divergence(size={"output": (0.1, 50)})]).verdict == "fail"


def test_a_structural_divergence_names_its_quantity(batch_norm):
    case, expectation, observation = batch_norm
    counted = changed(observation, 1, "buffer.num_batches_tracked", lambda n: n + 1)
    named = divergence(quantities=("buffer.num_batches_tracked",))
    assert judge(case, expectation, counted, divergences=[divergence()]).verdict == "fail"
    assert judge(case, expectation, counted, divergences=[named]).verdict == "known"
    # a number that is off needs a size or a precision class, not a name alone
    off = changed(observation, 0, "output", lambda y: y * np.float32(1.5))
    assert judge(case, expectation, off, divergences=[divergence(quantities=("output",))]).verdict == "fail"


def test_a_divergence_that_is_no_longer_seen_is_fixed_where_it_must_always_show(batch_norm):
    case, expectation, observation = batch_norm
    always, sometimes = divergence(size={"output": (0.1, 50)}), divergence(size={"output": (0.1, 50)}, always=False)
    judgement = judge(case, expectation, observation, divergences=[sometimes, always])
    assert (judgement.verdict, judgement.divergence) == ("fixed", "known-one")
    assert "divergence known-one (d.yaml:7:5) is no longer seen here: delete it or narrow its range" in judgement.reason
    assert judge(case, expectation, observation, divergences=[sometimes]).verdict == "pass"


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "known"), (3.0, "fail")])
def test_a_precision_class_is_a_range_that_the_model_sets(case_of, factor, verdict):
    """An error between the allowances of class A and B is known under a divergence that claims class B."""
    case = case_of("LayerNorm", (4, 5), "float16", data="f2-small-n")
    expectation = Expectation(case, make_inputs(case))
    wide = expectation.steps("B")[0].quantities["output"]
    narrow = expectation.steps("A")[0].quantities["output"]
    assert wide.undetermined is None
    off = (narrow.value + factor * wide.scale).astype(np.float16)
    observation = changed(perfect(case, expectation), 0, "output", lambda _: off)
    claims = divergence(precision="B")
    assert judge(case, expectation, observation).verdict == "fail"
    judgement = judge(case, expectation, observation, divergences=[claims])
    assert judgement.verdict == verdict
    named = divergence(precision="B", quantities=("grad.*", "outp*"))
    assert judge(case, expectation, observation, divergences=[named]).verdict == verdict
    assert (
        judge(case, expectation, observation, divergences=[divergence(precision="B", quantities=("x",))]).verdict
        == "fail"
    )
    if verdict == "fail":
        assert "claims class B, which this exceeds" in judgement.reason


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "known"), (3.0, "fail")])
def test_where_a_size_and_a_class_are_declared_both_must_hold(case_of, factor, verdict):
    case = case_of("LayerNorm", (4, 5), "float16", data="f2-small-n")
    expectation = Expectation(case, make_inputs(case))
    narrow, wide = (expectation.steps(label)[0].quantities["output"] for label in ("A", "B"))
    off = (narrow.value + factor * wide.scale).astype(np.float16)
    observation = changed(perfect(case, expectation), 0, "output", lambda _: off)
    both = divergence(precision="B", size={"output": (0, 1)})
    assert judge(case, expectation, observation, divergences=[both]).verdict == verdict
    far_too_small = divergence(precision="B", size={"output": (0, 1e-9)})
    assert judge(case, expectation, observation, divergences=[far_too_small]).verdict == "fail"


def test_the_figures_of_a_class_say_which_class(case_of):
    case = case_of("LayerNorm", (4, 5), "float16", data="f2-small-n")
    expectation = Expectation(case, make_inputs(case))
    figures = figures_of(case, expectation, perfect(case, expectation), (), "B")
    assert {f.source for f in figures if f.quantity == "output"} == {"model, class B"}


# ---- expectation ---------------------------------------------------------------------------------------------------


def test_the_reference_runs_once_per_class(case_of):
    case = case_of("LayerNorm", (4, 5), "float16")
    expectation = Expectation(case, make_inputs(case))
    assert expectation.steps() is expectation.steps("A")
    assert expectation.steps("B") is expectation.steps("B")
    assert expectation.steps("A") is not expectation.steps("B")
