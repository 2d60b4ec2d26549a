"""What holds at the edges: slices that cannot be determined, ranges, NaN, emptiness, zeros."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import bits, make_inputs
from conformance.reference import build_reference
from references.rounding import precision

CENTRED = {
    "BatchNorm1d": ((6, 3), {}),
    "BatchNorm2d": ((3, 4, 2, 3), {}),
    "LayerNorm": ((5, 7), {}),
    "InstanceNorm2d": ((3, 2, 2, 3), {"affine": True, "track_running_stats": True}),
    "GroupNorm": ((3, 4, 3), {"num_groups": 2}),
}
EVERY = CENTRED | {"RMSNorm": ((5, 7), {})}


def expect(case, label="A", x=None):
    """The first step of a case, on its own inputs or on a given x."""
    inputs, reference = make_inputs(case), build_reference(case, label)
    step = inputs.steps[0]
    state = reference.initial(inputs.buffers)
    x = step.x if x is None else x.astype(step.x.dtype)
    return reference.step(x, step.grad_output, inputs.params, state, case.steps[0]), inputs


def slices(case, array):
    return build_reference(case).fold(case.shape).fold(array)


# ---- undetermined slices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", CENTRED)
def test_a_constant_slice_with_a_tiny_eps_is_undetermined_and_no_other_is(case_of, op):
    shape, arguments = CENTRED[op]
    case = case_of(op, shape, "float32", data="constant-slice", eps=1e-18, **arguments)
    expected, inputs = expect(case)
    x = slices(case, inputs.steps[0].x)
    constant = np.ptp(x, axis=1) == 0
    assert constant.sum() == 1
    for name in ("output", "grad_input"):
        unknown = slices(case, expected.quantities[name].undetermined)
        np.testing.assert_array_equal(unknown, np.broadcast_to(constant[:, None], unknown.shape))
    assert expected.undetermined_slices == pytest.approx(1 / len(x))


@pytest.mark.parametrize("op", CENTRED)
def test_a_constant_slice_with_an_everyday_eps_is_determined(case_of, op):
    shape, arguments = CENTRED[op]
    expected, _ = expect(case_of(op, shape, "float32", data="constant-slice", eps=1e-5, **arguments))
    assert expected.undetermined_slices == 0
    assert all(quantity.undetermined is None for quantity in expected.quantities.values())


def test_every_weight_whose_gradient_sums_over_an_undetermined_slice_is_undetermined(case_of):
    rows, _ = expect(case_of("LayerNorm", (5, 7), "float32", data="constant-slice", eps=1e-18))
    assert rows.quantities["grad.weight"].undetermined.all()
    assert np.isinf(rows.quantities["grad.weight"].scale).all()
    channels, _ = expect(case_of("BatchNorm1d", (6, 3), "float32", data="constant-slice", eps=1e-18))
    np.testing.assert_array_equal(channels.quantities["grad.weight"].undetermined, [False, True, False])
    np.testing.assert_array_equal(np.isinf(channels.quantities["grad.weight"].scale), [False, True, False])
    for expected in (rows, channels):
        assert expected.quantities["grad.bias"].undetermined is None, "the bias's gradient needs no statistics"


@pytest.mark.parametrize("n", [8, 32, 128, 512])
def test_slices_become_undetermined_where_the_condition_number_passes_the_measured_limit(case_of, n):
    """kappa_det(n) = 0.07 / (A(n) u) (numerics: float32, N(kappa, 1), eps = 1e-5)."""
    limit = 0.07 / (precision("float32").A(n) * 2.0**-24)
    case = case_of("LayerNorm", (10, n), "float32")
    z = bits.normal("kappa", case.shape)
    assert expect(case, x=z + limit / 3)[0].undetermined_slices == 0
    assert expect(case, x=z + limit * 3)[0].undetermined_slices == 1


@pytest.mark.parametrize("op", CENTRED)
def test_in_an_undetermined_slice_the_output_is_still_finite_and_near_the_bias(case_of, op):
    """|xh| <= sqrt(n) whatever the variance; what the mean's error adds is divided by sqrt(eps) at most."""
    shape, arguments = CENTRED[op]
    case = case_of(op, shape, "float32", data="constant-slice", eps=1e-18, **arguments)
    expected, inputs = expect(case)
    output, fold = expected.quantities["output"], build_reference(case).fold(case.shape)
    unknown = fold.fold(output.undetermined)[:, 0]
    w, b = (fold.spread(inputs.params[name].astype(np.float64))[unknown] for name in ("weight", "bias"))
    np.testing.assert_array_equal(fold.fold(output.value)[unknown], b)
    x = fold.fold(inputs.steps[0].x.astype(np.float64))[unknown]
    U, n = precision("float32").U, fold.elements
    dm = U * (n * np.abs(x).mean(axis=1, keepdims=True) + np.abs(x)) + 2.0**-126
    dc = dm + 2 * U * np.abs(x)
    u = 2.0**-24
    limit = np.abs(w) * (np.sqrt(n) + 2 * dc / np.sqrt(1e-18)) * (1 + 4 * u) + 4 * u * np.abs(b)
    np.testing.assert_allclose(fold.fold(output.scale)[unknown], limit, rtol=1e-7)
    assert np.isinf(fold.fold(expected.quantities["grad_input"].scale)[unknown]).all()


def test_without_eps_nothing_is_promised_about_an_undetermined_slice(case_of):
    expected, _ = expect(case_of("GroupNorm", (3, 4, 3), "float32", data="f10-constant", eps=0.0))
    assert np.isinf(expected.quantities["output"].scale).all()


# ---- the range of the compute format -------------------------------------------------------------------------------


@pytest.mark.parametrize("op", EVERY)
def test_slices_whose_sums_may_overflow_in_float32_are_left_alone(case_of, op):
    shape, arguments = EVERY[op]
    case = case_of(op, shape, "float32", **arguments)
    expected, _ = expect(case, x=1e20 * make_inputs(case).steps[0].x)
    for name, quantity in expected.quantities.items():
        free = name in {"grad.bias", "buffer.num_batches_tracked"}
        assert np.isinf(quantity.scale).all() != free, name
    assert expected.undetermined_slices == 1


@pytest.mark.parametrize("op", EVERY)
def test_the_same_numbers_are_in_range_in_float64(case_of, op):
    shape, arguments = EVERY[op]
    case = case_of(op, shape, "float64", **arguments)
    expected, _ = expect(case, x=1e20 * make_inputs(case).steps[0].x)
    assert all(np.isfinite(quantity.scale).all() for quantity in expected.quantities.values())


@pytest.mark.parametrize("op", EVERY)
def test_squares_beyond_float16_are_in_range_since_they_are_formed_in_float32(case_of, op):
    shape, arguments = EVERY[op]
    expected, _ = expect(case_of(op, shape, "float16", data="f8-f16-range", **arguments))
    assert all(np.isfinite(quantity.scale).all() for quantity in expected.quantities.values())


def test_eval_mode_forms_no_sums_and_has_no_range(case_of):
    case = case_of("BatchNorm1d", (6, 3), "float32", steps=("eval",))
    expected, _ = expect(case, x=1e20 * make_inputs(case).steps[0].x)
    assert np.isfinite(expected.quantities["output"].scale).all()


def test_gradients_need_the_cube_of_the_inverse_std_in_range_and_outputs_do_not(case_of):
    case = case_of("RMSNorm", (5, 7), "float32")
    expected, _ = expect(case, x=1e17 * make_inputs(case).steps[0].x)
    assert np.isfinite(expected.quantities["output"].scale).all()
    assert np.isinf(expected.quantities["grad_input"].scale).all()
    assert expected.quantities["grad_input"].undetermined.all()


def test_gradients_need_the_cube_of_a_large_inverse_std_in_range_too(case_of):
    case = case_of("RMSNorm", (5, 7), "float32", eps=1e-26)
    expected, _ = expect(case, x=1e-14 * make_inputs(case).steps[0].x)
    assert np.isfinite(expected.quantities["output"].scale).all()
    assert expected.quantities["grad_input"].undetermined.all()


@pytest.mark.parametrize(("share", "in_range"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("op", ["LayerNorm", "RMSNorm"])
def test_an_eighth_of_the_largest_number_is_the_limit_of_a_sum(case_of, op, share, in_range):
    case = case_of(op, (5, 7), "float32", eps=1.0)
    x = make_inputs(case).steps[0].x.astype(np.float64)
    largest = float(np.finfo(np.float32).max) / 8
    x *= np.sqrt(share * largest / (x * x).sum(axis=1, keepdims=True))
    expected, _ = expect(case, x=x)
    assert np.isfinite(expected.quantities["output"].scale).all() == in_range


@pytest.mark.parametrize(("share", "in_range"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("end", ["large", "small"])
def test_the_cube_of_the_inverse_std_has_a_margin_of_eight_to_either_end_of_the_range(case_of, end, share, in_range):
    """Backward passes form s^3: FMAX^(1/3) / 8 and 8 TINY^(1/3) are the limits of s (numerics, range rules)."""
    info = np.finfo(np.float32)
    limit = float(info.max) ** (1 / 3) / 8 if end == "large" else 8 * float(info.tiny) ** (1 / 3)
    s = limit * share if end == "large" else limit / share
    case = case_of("RMSNorm", (5, 7), "float32", eps=1e-30, elementwise_affine=False)
    expected, _ = expect(case, x=np.full((5, 7), 1 / s))
    assert np.isfinite(expected.quantities["output"].scale).all()
    assert np.isfinite(expected.quantities["grad_input"].scale).all() == in_range


@pytest.mark.parametrize("mean", [6e3, 6e4])
@pytest.mark.parametrize("label", ["A", "B"])
def test_a_mean_near_the_end_of_the_storage_range_is_in_range_unless_it_is_stored(case_of, label, mean):
    """Class B stores the statistics in the format of the data, whose range has a margin of eight as well."""
    case = case_of("LayerNorm", (5, 8), "float16", eps=1e9)  # so that the variance itself is certain
    x = mean + 1e3 * np.arange(8) / 8 * np.ones((5, 1))
    unknown = expect(case, label, x=x)[0].quantities["output"].undetermined
    assert (unknown is not None) == (label == "B" and mean > 65504 / 8)


@pytest.mark.parametrize(("share", "in_range"), [(0.9, True), (1.1, False)])
def test_the_squares_that_are_summed_are_those_of_the_values_not_of_their_distances(case_of, share, in_range):
    """A backend may sum x^2, which a mean of 1e18 makes large where the variance stays small."""
    case = case_of("LayerNorm", (5, 7), "float32", eps=1e35)
    size = np.sqrt(share * float(np.finfo(np.float32).max) / 8 / 7)
    expected, _ = expect(case, x=np.broadcast_to(size * (1 + 1e-3 * np.arange(7)), (5, 7)) / (1 + 3e-3))
    unknown = expected.quantities["output"].undetermined
    assert (unknown is None) == in_range


@pytest.mark.parametrize(("share", "in_range"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("where", ["sum of |g|", "sum of |g xh|"])
def test_the_same_limit_holds_for_the_sums_of_gradients(case_of, share, in_range, where):
    case = case_of("LayerNorm", (1, 64), "float32", elementwise_affine=False)
    reference, largest = build_reference(case), float(np.finfo(np.float32).max) / 8
    x = make_inputs(case).steps[0].x
    if where == "sum of |g xh|":  # one element far out, where xh is nearly sqrt(n) and all of the gradient is
        x = np.where(np.arange(64) == 3, np.float32(1e3), x)
        grad_output = (np.arange(64) == 3) * np.ones((1, 64))
        xh = np.abs(x.astype(np.float64) - x.mean(dtype=np.float64)) / x.std(dtype=np.float64)
        assert xh[0, 3] > 7
    else:
        grad_output, xh = np.ones((1, 64)), 1.0
    grad_output = (grad_output * (share * largest / (np.abs(grad_output) * xh).sum())).astype(np.float32)
    found = reference.step(x, grad_output, {}, {}, "train").quantities["grad_input"]
    assert np.isfinite(found.scale).all() == in_range


def test_the_condition_number_is_that_of_the_worst_slice_and_there_is_none_under_constant_statistics(case_of):
    case = case_of("BatchNorm1d", (4, 2), "float32", steps=("train", "eval"))
    x = np.array([[1, 9], [-1, 11], [1, 9], [-1, 11]])  # rms / std is 1 and sqrt(101)
    assert expect(case, x=x)[0].kappa == pytest.approx(np.sqrt(101))
    assert expect(case_of("BatchNorm1d", (4, 2), "float32", steps=("eval",)), x=x)[0].kappa is None


# ---- NaN and infinities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["f10-nan", "f10-inf"])
@pytest.mark.parametrize("op", CENTRED)
def test_a_nan_or_an_infinity_poisons_its_own_slice_and_no_other(case_of, op, data):
    shape, arguments = CENTRED[op]
    case = case_of(op, shape, "float32", data=data, **arguments)
    expected, inputs = expect(case)
    bad = ~np.isfinite(slices(case, inputs.steps[0].x)).all(axis=1)
    assert bad.sum() == 1
    for name in ("output", "grad_input"):
        quantity = expected.quantities[name]
        value = slices(case, quantity.value)
        assert np.isnan(value[bad]).all()
        assert np.isfinite(value[~bad]).all()
        assert np.isfinite(slices(case, quantity.scale)[~bad]).all()
        assert quantity.undetermined is None, "NaN is what is expected, not an unknown"


@pytest.mark.parametrize("op", CENTRED)
def test_the_other_slices_are_as_if_the_nan_were_not_there(case_of, op):
    shape, arguments = CENTRED[op]
    case = case_of(op, shape, "float32", data="f10-nan", **arguments)
    x = make_inputs(case).steps[0].x
    bad = ~np.isfinite(slices(case, x)).all(axis=1)
    with_nan, _ = expect(case)
    without, _ = expect(case, x=np.where(np.isnan(x), 0.5, x))
    for name in ("output", "grad_input"):
        for field in ("value", "scale"):
            a, b = (slices(case, getattr(e.quantities[name], field))[~bad] for e in (with_nan, without))
            np.testing.assert_array_equal(a, b)


def test_an_infinity_under_rms_norm_sends_its_row_to_zero_and_itself_to_nan(case_of):
    case = case_of("RMSNorm", (5, 7), "float32", data="f10-inf", params="default")
    expected, inputs = expect(case)
    output = expected.quantities["output"].value
    infinite = np.isinf(inputs.steps[0].x)
    row = infinite.any(axis=1)
    assert np.isnan(output[infinite]).all()
    assert (output[row][~infinite[row]] == 0).all()
    assert np.isfinite(output[~row]).all()


def test_gradients_of_parameters_are_nan_only_where_they_sum_over_the_poisoned_slice(case_of):
    expected, _ = expect(case_of("BatchNorm1d", (6, 3), "float32", data="f10-nan"))
    np.testing.assert_array_equal(np.isnan(expected.quantities["grad.weight"].value), [False, True, False])
    assert np.isfinite(expected.quantities["grad.bias"].value).all()
    np.testing.assert_array_equal(np.isnan(expected.quantities["buffer.running_mean"].value), [False, True, False])


# ---- nothing, one, zero --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "shape", "arguments"),
    [
        ("BatchNorm2d", (0, 3, 4, 4), {}),
        ("BatchNorm1d", (4, 3, 0), {}),
        ("LayerNorm", (0, 5), {}),
        ("RMSNorm", (2, 0, 5), {}),
        ("InstanceNorm1d", (0, 3, 4), {"affine": True}),
        ("GroupNorm", (0, 4, 2), {"num_groups": 2}),
        ("LocalResponseNorm", (0, 4, 2), {}),
    ],
)
def test_an_empty_batch_has_empty_outputs_and_gradients_of_zero(case_of, op, shape, arguments):
    expected, inputs = expect(case_of(op, shape, "float32", **arguments))
    assert expected.quantities["output"].value.shape == shape
    assert expected.quantities["grad_input"].value.shape == shape
    for name, parameter in inputs.params.items():
        gradient = expected.quantities[f"grad.{name}"]
        assert gradient.value.shape == gradient.scale.shape == parameter.shape
        assert (gradient.value == 0).all()
    assert expected.undetermined_slices == 0
    assert expected.kappa is None


def test_an_empty_batch_is_counted_and_moves_no_statistics(case_of):
    expected, inputs = expect(case_of("BatchNorm2d", (0, 3, 4, 4), "float32"))
    for name in ("running_mean", "running_var"):
        np.testing.assert_array_equal(expected.state[name].value, inputs.buffers[name])
        assert (expected.state[name].scale == 0).all()
    assert expected.state["num_batches_tracked"].value == inputs.buffers["num_batches_tracked"] + 1


@pytest.mark.parametrize("op", EVERY)
def test_where_the_weight_is_zero_the_output_is_the_bias_and_the_gradient_zero(case_of, op):
    shape, arguments = EVERY[op]
    case = case_of(op, shape, "float32", params="some_zero", **arguments)
    expected, inputs = expect(case)
    if op in {"LayerNorm", "RMSNorm"}:
        where = (slice(None), inputs.params["weight"] == 0)
    else:
        where = (slice(None), inputs.params["weight"] == 0, ...)
    output = np.moveaxis(expected.quantities["output"].value[where], 1, -1)
    bias = inputs.params["bias"][inputs.params["weight"] == 0] if "bias" in inputs.params else 0
    assert output.size
    np.testing.assert_array_equal(output, np.broadcast_to(bias, output.shape))
    if op in {"BatchNorm1d", "BatchNorm2d", "InstanceNorm2d"}:
        assert (expected.quantities["grad_input"].value[where] == 0).all()
    for quantity in expected.quantities.values():
        assert quantity.stored == "int64" or (quantity.scale > 0).all()


def test_a_slice_of_one_element_normalises_to_zero_and_allows_the_residue_of_fused_kernels(case_of):
    """A fused x (w s) + (b - m w s) leaves up to u |x| s where the definition has 0."""
    expected, inputs = expect(case_of("LayerNorm", (5, 1), "float32", data="scaled"))
    output, x = expected.quantities["output"], inputs.steps[0].x
    np.testing.assert_array_equal(output.value, np.broadcast_to(inputs.params["bias"], (5, 1)))
    residue = 2.0**-24 * np.abs(x * inputs.params["weight"]) / np.sqrt(1e-5)
    assert (output.scale > residue).all()


@pytest.mark.parametrize("op", CENTRED)
def test_a_shifted_batch_has_the_same_output_within_what_is_allowed(case_of, op):
    """The definition is shift invariant; 64 is exactly representable beside every value here."""
    shape, arguments = CENTRED[op]
    case = case_of(op, shape, "float32", data="scaled", **arguments)
    x = np.round(make_inputs(case).steps[0].x * 256) / 256
    here, there = expect(case, x=x)[0], expect(case, x=x + 64)[0]
    for name in ("output", "grad_input"):
        a, b = here.quantities[name], there.quantities[name]
        np.testing.assert_allclose(a.value, b.value, rtol=0, atol=1e-11)
        assert (b.scale > a.scale).all(), "a larger mean costs digits"
