"""The inputs of a case: the same bits everywhere, fresh in every step, and made to show mistakes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from hashlib import sha256

import ml_dtypes
import msgspec
import numpy as np
import pytest

from conformance.input_cache import KeptInputs
from conformance.inputs import make_inputs
from conformance.inputs.make import stored
from conformance.pack_cache import PackCache
from conformance.suite.data_families import DATA

FLOATS = ["float64", "float32", "bfloat16", "float16"]
STEPS = ("train", "train", "eval")


def digest(inputs):
    """Twelve digits of all bits of all arrays."""
    found = sha256()
    for arrays in (inputs.params, inputs.buffers):
        for name in sorted(arrays):
            found.update(name.encode() + arrays[name].tobytes())
    for step in inputs.steps:
        found.update(step.x.tobytes() + step.grad_output.tobytes())
    return found.hexdigest()[:12]


#: Of all dtypes together.  A change here changes what every stored result was measured on: say so in the change log.
GOLDEN = {
    "normal": "765937bbd852",
    "scaled": "0622d756b6c8",
    "shifted-1e1": "523cc2c921a1",
    "shifted-1e3": "98cb1038c4a5",
    "shifted-1e5": "0c6da5d93d71",
    "tiny-variance": "08ed74e27b14",
    "constant-slice": "8ae369f7125f",
    "f1-eps": "1006c28dd951",
    "f2-small-n": "0622d756b6c8",
    "f3-offset": "747d304884fe",
    "f4-tail": "31ccf0c1dd69",
    "f5-slices": "a6fdeb10da9d",
    "f6-long-positive": "b11de5e46755",
    "f7-stagnation": "df615ef46717",
    "f8-f16-range": "783dd13b5c5b",
    "f9-ulp-jitter": "b61c4df7b623",
    "f10-constant": "7fdcc67c2ed1",
    "f10-denormal": "bb051d040d13",
    "f10-heavy-tail": "23b9c7bec8a1",
    "f10-wide-range": "09e7124191ee",
    "f10-absorb": "c665d671ed4a",
    "f10-nan": "b90a76bd3249",
    "f10-inf": "91f28aa4806d",
    "f11-large-n": "3a3bb48eac15",
    "f12-buffers": "91420633b269",
    "whole": "041997e9c620",
    "nonzero": "adb9a77483be",
    "special": "e696fb3ebf5c",
}


def family_digest(case_of, data):
    parts = [
        digest(make_inputs(case_of("BatchNorm2d", (3, 4, 2, 3), dtype, data=data, steps=STEPS, key="golden")))
        for dtype in FLOATS
    ]
    return sha256("".join(parts).encode()).hexdigest()[:12]


@pytest.mark.parametrize("data", DATA)
def test_the_bits_of_every_family_are_those_that_were_recorded(case_of, data):
    assert family_digest(case_of, data) == GOLDEN[data]


def test_a_fresh_process_makes_the_same_bits(case_of):
    case = case_of("GroupNorm", (3, 4, 5), "bfloat16", data="f12-buffers", num_groups=2, steps=STEPS, key="fresh")
    code = (
        "import hashlib\n"
        "from conformance.inputs import make_inputs\n"
        "from conformance.ops import OPS\n"
        "from conformance.suite.case import Case, Origin\n"
        "op = OPS['GroupNorm']\n"
        "args = op.complete(op.defaults() | {'num_groups': 2}, (3, 4, 5))\n"
        "case = Case(id='', key='fresh', op='GroupNorm', args=args, shape=(3, 4, 5), dtype='bfloat16',\n"
        "            param_dtype='bfloat16', data='f12-buffers', steps=('train', 'train', 'eval'),\n"
        "            origin=Origin('', 1, 1))\n"
        "inputs = make_inputs(case)\n"
        "found = hashlib.sha256()\n"
        "for arrays in (inputs.params, inputs.buffers):\n"
        "    for name in sorted(arrays):\n"
        "        found.update(name.encode() + arrays[name].tobytes())\n"
        "for step in inputs.steps:\n"
        "    found.update(step.x.tobytes() + step.grad_output.tobytes())\n"
        "print(found.hexdigest()[:12])\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "12345"}
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert fresh.stdout.strip() == digest(make_inputs(case))


def test_the_key_decides_and_nothing_else_does(case_of):
    one, same, other = (case_of("LayerNorm", (3, 5), key=key, id=name) for key, name in ("aa", "ab", "ba"))
    assert digest(make_inputs(one)) == digest(make_inputs(same)) != digest(make_inputs(other))


def test_every_step_has_a_fresh_batch_and_a_fresh_gradient(case_of):
    steps = make_inputs(case_of("BatchNorm2d", (3, 4, 2, 3), data="scaled", steps=STEPS)).steps
    assert len({step.x.tobytes() for step in steps}) == len({step.grad_output.tobytes() for step in steps}) == 3


def test_more_steps_leave_the_earlier_ones_as_they_were(case_of):
    short, long = (make_inputs(case_of("LayerNorm", (3, 5), steps=steps, key="k")) for steps in (STEPS[:1], STEPS))
    assert short.steps[0].x.tobytes() == long.steps[0].x.tobytes()


@pytest.mark.parametrize("data", ["normal", "scaled", "f4-tail", "f5-slices", "f6-long-positive", "f8-f16-range"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_narrow_dtype_holds_the_wide_numbers_rounded_once(case_of, data, dtype):
    wide, narrow = (make_inputs(case_of("LayerNorm", (3, 9), d, data=data, key="k")) for d in ("float64", dtype))
    for name in ("x", "grad_output"):
        np.testing.assert_array_equal(getattr(narrow.steps[0], name), stored(getattr(wide.steps[0], name), dtype))
    assert narrow.params["weight"].tobytes() == stored(wide.params["weight"], dtype).tobytes()


def test_rounding_to_bfloat16_goes_by_way_of_float32():
    """A direct conversion may round once where this rounds twice, and not every ml_dtypes has one."""
    tie = 1 + 2.0**-8 + 2.0**-40  # above the tie of bfloat16, on it after float32
    assert float(stored(np.array([tie]), "bfloat16")[0]) == 1.0
    assert stored(np.array([1.5]), "bfloat16").dtype == ml_dtypes.bfloat16
    assert stored(np.array(2.5), "float32").shape == ()


# ---- parameters and buffers -----------------------------------------------------------------------------------------


def parameters(case_of, **given):
    return make_inputs(case_of("BatchNorm1d", (2, 500), **given)).params


def test_random_parameters_are_never_those_that_hide_a_mistake(case_of):
    params = parameters(case_of)
    size, bias = np.abs(params["weight"]), params["bias"]
    assert size.min() >= 0.5
    assert size.max() <= 2.0
    assert 0.2 < (params["weight"] < 0).mean() < 0.5
    assert bias.min() >= 0.3
    assert bias.max() <= 1.0
    for values, forbidden in ((size, 1.0), (bias, 0.0), (bias, 1.0)):
        assert (values != forbidden).all()
    assert len(np.unique(params["weight"])) > 490


def test_default_parameters_are_ones_and_zeros(case_of):
    params = parameters(case_of, params="default")
    assert (params["weight"] == 1).all()
    assert (params["bias"] == 0).all()


def test_negative_and_some_zero_parameters_are_what_they_say(case_of):
    assert (parameters(case_of, params="negative")["weight"] < 0).all()
    weight = parameters(case_of, params="some_zero")["weight"]
    assert (weight[::3] == 0).all()
    assert (np.delete(weight, np.s_[::3]) != 0).all()


def test_random_buffers_are_no_defaults_and_the_count_is_not_zero(case_of):
    buffers = make_inputs(case_of("BatchNorm1d", (2, 500))).buffers
    assert (buffers["running_mean"] != 0).all()
    assert (buffers["running_var"] != 1).all()
    assert (buffers["running_var"] > 0.29).all()
    assert buffers["num_batches_tracked"].dtype == np.int64
    assert buffers["num_batches_tracked"].shape == ()
    assert buffers["num_batches_tracked"] == 7


def test_default_buffers_are_those_of_a_new_layer(case_of):
    buffers = make_inputs(case_of("BatchNorm1d", (2, 5), buffers="default")).buffers
    assert [set(buffer.ravel().tolist()) for buffer in buffers.values()] == [{0.0}, {1.0}, {0}]


def test_where_eps_decides_the_running_variance_is_about_eps_too(case_of):
    buffers = make_inputs(case_of("BatchNorm1d", (2, 50), data="f1-eps", eps=1e-3)).buffers
    assert (buffers["running_var"] / 1e-3 > 0.29).all()
    assert (buffers["running_var"] / 1e-3 < 3.31).all()
    assert np.abs(buffers["running_mean"]).max() <= 2 * np.sqrt(1e-3)


@pytest.mark.parametrize(
    ("dtype", "param_dtype"), [("bfloat16", "float32"), ("float32", "float32"), ("float16", "float16")]
)
def test_parameters_and_buffers_are_stored_in_their_own_dtype(case_of, dtype, param_dtype):
    inputs = make_inputs(case_of("BatchNorm1d", (4, 5), dtype, param_dtype=param_dtype))
    assert {value.dtype.name for value in inputs.params.values()} == {param_dtype}
    assert inputs.buffers["running_mean"].dtype.name == param_dtype
    assert inputs.steps[0].x.dtype.name == dtype


# ---- the upstream gradient -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["BatchNorm1d", "LayerNorm", "InstanceNorm1d", "GroupNorm", "RMSNorm"])
def test_the_upstream_gradient_is_biased_and_correlated_with_the_normalised_input(case_of, op):
    """A zero-mean, uncorrelated one hides a gradient that lacks S1 or S2."""
    arguments = {"affine": True} if op == "InstanceNorm1d" else {}
    case = case_of(op, (20, 6, 50), data="scaled", **arguments)
    inputs = make_inputs(case)
    x, gy = (getattr(inputs.steps[0], name).astype(np.float64) for name in ("x", "grad_output"))
    weight = inputs.params["weight"].reshape((1, 1, -1) if op in {"LayerNorm", "RMSNorm"} else (1, -1, 1))
    assert gy.mean() == pytest.approx(1, abs=0.1)
    axes = {"BatchNorm1d": (0, 2), "LayerNorm": 2, "RMSNorm": 2, "InstanceNorm1d": 2, "GroupNorm": (1, 2)}[op]
    xh = (x - x.mean(axis=axes, keepdims=True)) / x.std(axis=axes, keepdims=True)
    assert (np.sign(weight) * gy * xh).mean() == pytest.approx(0.8, abs=0.15)


def test_stagnating_gradients_have_one_sign_for_the_weight_in_even_steps_and_for_the_bias_in_odd_ones(case_of):
    case = case_of("BatchNorm1d", (50, 3), data="f7-stagnation", steps=("train", "train"))
    even, odd = make_inputs(case).steps
    assert set(np.unique(even.grad_output)) == {-0.75, 0.75}
    x = even.x - np.median(even.x, axis=0)
    assert (np.sign(x) * even.grad_output).mean() > 0.6
    assert set(np.unique(odd.grad_output)) == {0.75}


# ---- cases that must be refused ------------------------------------------------------------------------------------


def test_integers_are_whole_numbers_with_a_float_gradient(case_of):
    (step,) = make_inputs(case_of("LayerNorm", (4, 50), "int64", param_dtype="float32")).steps
    assert step.x.dtype == np.int64
    assert len(np.unique(step.x)) > 10
    assert step.grad_output.dtype == np.float32


def test_a_case_that_must_raise_has_inputs_whatever_its_geometry(case_of):
    from conformance.suite.case import Raises

    case = case_of("GroupNorm", (2, 5, 3), num_groups=2, num_channels=5, raises=Raises("ValueError", "divisible"))
    assert make_inputs(case).steps[0].x.shape == (2, 5, 3)
    scalar = case_of("BatchNorm2d", (), raises=Raises("ValueError", "4D"))
    assert make_inputs(scalar).steps[0].x.shape == ()


def test_inputs_know_the_case_that_they_were_made_or_read_for_and_a_changed_copy_knows_none(case_of, tmp_path):
    case = case_of("LayerNorm", (3, 4))
    kept = KeptInputs(PackCache(tmp_path, 1 << 20))
    for inputs in (make_inputs(case), kept(case), kept(case)):
        assert inputs.are_of(case)
        assert inputs.are_of(msgspec.structs.replace(case))
        assert not inputs.are_of(msgspec.structs.replace(case, data="scaled"))
        assert not dataclasses.replace(inputs, params={}).are_of(case)
