"""Every data family shows what its name promises."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.inputs.families import GENERATORS
from conformance.reference import build_reference
from conformance.suite.data_families import DATA
from references.rounding import FORMATS, STORAGE

FLOATS = ["float64", "float32", "bfloat16", "float16"]


def rows(case_of, data, dtype="float32", op="LayerNorm", shape=(12, 400), **given):
    """x of the first step, by slices, in float64."""
    case = case_of(op, shape, dtype, data=data, **given)
    x = make_inputs(case).steps[0].x
    return build_reference(case).fold(shape).fold(x.astype(np.float64))


def test_every_name_has_a_generator_and_every_generator_a_name():
    assert list(GENERATORS) == list(DATA)
    assert all(DATA.values()), "and a sentence of what it is for"


@pytest.mark.parametrize(
    "op", ["BatchNorm2d", "LayerNorm", "RMSNorm", "InstanceNorm2d", "GroupNorm", "LocalResponseNorm"]
)
@pytest.mark.parametrize("data", DATA)
def test_every_family_makes_numbers_of_every_dtype_for_every_geometry(case_of, data, op):
    for dtype in FLOATS:
        for shape in ((2, 4, 3, 3), (0, 4, 3, 3), (1, 1, 1, 1)):
            (step,) = make_inputs(case_of(op, shape, dtype, data=data)).steps
            assert step.x.shape == step.grad_output.shape == shape
            assert step.x.dtype == step.grad_output.dtype == STORAGE[dtype]
            assert step.x.flags.c_contiguous
            assert step.grad_output.flags.c_contiguous
            finite = np.isfinite(step.x.astype(np.float64)).all()
            overflows = dtype == "float16" and data == "shifted-1e5"
            assert finite or overflows or data in {"f10-nan", "f10-inf", "special"}


def test_normal_slices_are_all_alike(case_of):
    x = rows(case_of, "normal")
    assert np.abs(x.mean(axis=1)).max() < 0.25
    assert np.abs(x.std(axis=1) - 1).max() < 0.2


@pytest.mark.parametrize("data", ["scaled", "f2-small-n", "f5-slices", "f7-stagnation", "f12-buffers"])
def test_scaled_slices_have_scales_and_means_of_their_own(case_of, data):
    op, shape = ("InstanceNorm1d", (4, 3, 400)) if data == "f5-slices" else ("LayerNorm", (12, 400))
    x = rows(case_of, data, op=op, shape=shape)
    spread = x.std(axis=1)
    assert spread.max() / spread.min() > 3
    assert np.ptp(x.mean(axis=1) / spread) > 1


@pytest.mark.parametrize(
    ("data", "dtype", "kappa"),
    [
        ("shifted-1e1", "float32", 1e1),
        ("shifted-1e3", "float32", 1e3),
        ("shifted-1e5", "float32", 1e5),
        ("f3-offset", "bfloat16", 20),
        ("f3-offset", "float16", 100),
        ("f3-offset", "float32", 3e3),
        ("f3-offset", "float64", 1e7),
        ("f6-long-positive", "float32", 3),
    ],
)
def test_shifted_slices_have_the_ratio_of_mean_to_std_that_is_promised(case_of, data, dtype, kappa):
    x = rows(case_of, data, dtype)
    ratio = np.abs(x.mean(axis=1)) / x.std(axis=1)
    assert (np.abs(ratio / kappa - 1) < 0.25).all()
    if data != "f6-long-positive":
        assert {-1.0, 1.0} == set(np.sign(x.mean(axis=1))), "means of both signs"


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_where_eps_decides_the_variance_is_about_eps(case_of, eps):
    x = rows(case_of, "f1-eps", eps=eps)
    ratio = x.var(axis=1) / eps
    assert ratio.min() > 0.15
    assert ratio.max() < 5
    assert ratio.max() / ratio.min() > 2
    assert np.median(x.mean(axis=1) / x.std(axis=1)) == pytest.approx(0.7, abs=0.1)


def test_tiny_variances_are_a_millionth_of_eps(case_of):
    ratio = rows(case_of, "tiny-variance", eps=1e-3).var(axis=1) / 1e-3
    assert (ratio < 2e-6).all()
    assert (ratio > 5e-7).all()


@pytest.mark.parametrize(("data", "constant"), [("constant-slice", 1), ("f10-constant", 12)])
def test_constant_slices_are_constant_to_the_bit(case_of, data, constant):
    for dtype in FLOATS:
        assert (np.ptp(rows(case_of, data, dtype), axis=1) == 0).sum() == constant


def test_tails_stand_out_at_both_ends(case_of):
    x = rows(case_of, "f4-tail", shape=(12, 37))
    inner = x[:, 1:-1]
    z = (x - inner.mean(axis=1, keepdims=True)) / inner.std(axis=1, keepdims=True)
    assert (z[:, -1] > 2).all()
    assert (z[:, 0] < -1.5).all()


def test_large_slices_have_sentinels_at_both_ends(case_of):
    x = rows(case_of, "f11-large-n", shape=(3, 10_000))
    for end in (0, -1):
        np.testing.assert_allclose(x[:, end] / x[:, 1:-1].std(axis=1), 100, rtol=0.1)


def test_ulp_jitter_is_one_and_a_half_and_now_and_then_one_ulp_more(case_of):
    for dtype in FLOATS:
        x = rows(case_of, "f9-ulp-jitter", dtype)
        assert set(np.unique(x)) == {1.5, 1.5 + 2 * FORMATS[dtype].u}
        assert 1 / 60 < (x > 1.5).mean() < 1 / 12


def test_denormals_are_a_few_of_the_smallest_numbers(case_of):
    for dtype in FLOATS:
        x = rows(case_of, "f10-denormal", dtype) / FORMATS[dtype].eta
        assert np.abs(x).max() <= 240
        np.testing.assert_array_equal(x, np.round(x))
        assert len(np.unique(x)) > 20


def test_squares_of_the_float16_range_overflow_float16_and_not_float32(case_of):
    x = rows(case_of, "f8-f16-range", "float16")
    assert (x * x).max() > 65504
    assert x.std() == pytest.approx(300, rel=0.05)


def test_heavy_tails_and_wide_ranges_are_what_they_say(case_of):
    heavy, wide = rows(case_of, "f10-heavy-tail"), rows(case_of, "f10-wide-range")
    z = heavy / heavy.std(axis=1, keepdims=True)
    assert np.mean(z**4) > 8
    assert np.log2(np.abs(wide).max() / np.abs(wide[wide != 0]).min()) > 35


def test_absorbing_slices_hold_one_large_number_first(case_of):
    x = rows(case_of, "f10-absorb")
    assert (np.abs(x[:, 0]) == 1e6).all()
    assert np.abs(x[:, 1:]).max() < 2e-3


@pytest.mark.parametrize(("data", "test"), [("f10-nan", np.isnan), ("f10-inf", np.isposinf)])
def test_one_number_in_one_slice_is_not_finite(case_of, data, test):
    x = rows(case_of, data)
    assert test(x).sum() == 1
    assert (~np.isfinite(x)).sum() == 1


def test_the_buffer_family_has_one_slice_whose_variance_is_about_eps(case_of):
    variance = rows(case_of, "f12-buffers", eps=1e-3).var(axis=1)
    assert ((variance / 1e-3 > 0.5) & (variance / 1e-3 < 2)).sum() == 1


def test_per_sample_scales_differ_within_a_channel_and_within_a_sample(case_of):
    x = make_inputs(case_of("InstanceNorm1d", (4, 3, 400), "float32", data="f5-slices")).steps[0].x
    spread = x.std(axis=2)
    assert (spread.max(axis=0) / spread.min(axis=0) > 1.5).all()
    assert (spread.max(axis=1) / spread.min(axis=1) > 1.5).all()


def test_whole_numbers_are_small_and_many_of_them_are_equal_or_zero(case_of):
    x = rows(case_of, "whole")
    assert (x == np.rint(x)).all()
    assert np.abs(x).max() <= 12
    assert (x == 0).mean() > 0.1
    assert {True, False} == set(np.signbit(x[x == 0]).tolist()), "zeros of both signs"


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_away_from_zero_stay_there_when_they_are_rounded(case_of, dtype):
    x = rows(case_of, "nonzero", dtype)
    assert np.abs(x).min() >= 0.15
    assert {-1.0, 1.0} == set(np.sign(x).reshape(-1).tolist())


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_special_numbers_are_all_there(case_of, dtype):
    x, stored = rows(case_of, "special", dtype), FORMATS[dtype]
    for number in (0.0, 1.0, np.inf, -np.inf, stored.max, -stored.max, stored.tiny, stored.eta):
        assert (x == number).any(), number
    assert np.isnan(x).any()
