"""The inputs of a script are those of the case, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.repro.given import _generated, _packed, _written_out, given_block, reproduces
from conformance.suite.data_families import DATA

NORMAL = [name for name in DATA if name.startswith("f") or name in (
    "normal", "scaled", "shifted-1e1", "shifted-1e3", "shifted-1e5", "tiny-variance", "constant-slice")]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("data", NORMAL)
def test_every_family_of_data_is_generated_by_the_same_bits(fault_of, case_of, data, dtype):
    case = case_of("BatchNorm2d", (4, 3, 5, 2), dtype, data=data, steps=("train", "eval"))
    fault = fault_of(case, step=1)
    block = _generated(fault)
    assert block is not None
    assert reproduces(fault, block)


@pytest.mark.parametrize("make", [_generated, _packed], ids=["generated", "packed"])
@pytest.mark.parametrize(
    ("op", "shape"),
    [("LayerNorm", (6, 40)), ("GroupNorm", (2, 4, 30)), ("InstanceNorm1d", (3, 50)), ("RMSNorm", (40,))],
)
@pytest.mark.parametrize("params", ["random", "negative", "some_zero", "default"])
def test_every_geometry_and_kind_of_parameters(fault_of, case_of, make, op, shape, params):
    fault = fault_of(case_of(op, shape, params=params, data="scaled"))
    assert reproduces(fault, make(fault))


def test_small_inputs_are_written_out(fault_of, case_of):
    fault = fault_of(case_of("LayerNorm", (2, 3)))
    assert given_block(fault).text == _written_out(fault).text
    assert "hashlib" not in given_block(fault).text


def test_large_inputs_are_generated(fault_of, case_of):
    assert "def words" in given_block(fault_of(case_of("LayerNorm", (64, 64)))).text


def test_what_has_no_generator_is_packed(fault_of, case_of):
    block = given_block(fault_of(case_of("BatchNorm2d", (0, 3, 4, 4))))
    assert "np.zeros((0, 3, 4, 4,))" in block.text.replace("(0, 3, 4, 4)", "(0, 3, 4, 4,)")


def test_a_generator_that_makes_other_bits_is_found_out(fault_of, case_of):
    fault = fault_of(case_of("LayerNorm", (4, 30), data="scaled"))
    block = _generated(fault)
    block.lines = [line.replace("0x94D049BB133111EB", "0x94D049BB133111ED") for line in block.lines]
    assert not reproduces(fault, block)


def test_a_written_number_that_is_off_by_one_ulp_is_found_out(fault_of, case_of):
    fault = fault_of(case_of("LayerNorm", (2, 3), data="normal"))
    block = given_block(fault)
    off = float(np.nextafter(fault.inputs.steps[0].x[0, 0], np.float32(9)))
    first = next(line for line in block.lines if line.startswith("x = "))
    number = first.partition("[")[2].partition(",")[0]
    block.lines = [line.replace(number, repr(off), 1) if line == first else line for line in block.lines]
    assert not reproduces(fault, block)
