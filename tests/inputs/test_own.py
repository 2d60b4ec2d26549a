"""Inputs are known as a case's own for as long as they live, and no others are."""

from __future__ import annotations

import dataclasses
import gc

import msgspec

from conformance.backends.export_cache import ExportCache
from conformance.input_cache import KeptInputs
from conformance.inputs import make_inputs, own


def test_what_is_made_or_read_for_a_case_is_its_own(case_of, tmp_path):
    case = case_of("LayerNorm", (3, 4))
    kept = KeptInputs(ExportCache(tmp_path))
    for inputs in (make_inputs(case), kept(case), kept(case)):
        assert own.are_own(case, inputs)
        assert own.are_own(msgspec.structs.replace(case), inputs)


def test_those_of_another_case_and_changed_copies_are_not(case_of):
    case = case_of("LayerNorm", (3, 4))
    inputs = make_inputs(case)
    assert not own.are_own(msgspec.structs.replace(case, data="scaled"), inputs)
    assert not own.are_own(case, dataclasses.replace(inputs, params={}))
    assert not own.are_own(case, object())


def test_nothing_is_remembered_of_inputs_that_are_gone(case_of):
    case = case_of("LayerNorm", (3, 4))
    inputs = make_inputs(case)
    place = id(inputs)
    assert place in own._OWNERS
    del inputs
    gc.collect()
    assert place not in own._OWNERS
