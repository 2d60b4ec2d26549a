"""A candidate's names against those of the op."""

from __future__ import annotations

import pytest

from conformance.backends.candidate.names import CALLED, Own, Wanted, match
from conformance.errors import UsageError

WEIGHT, BIAS = Wanted("weight", "parameter", (3,), 1.0), Wanted("bias", "parameter", (3,), 0.0)
MEAN, VAR = Wanted("running_mean", "buffer", (3,), 0.0), Wanted("running_var", "buffer", (3,), 1.0)
COUNT = Wanted("num_batches_tracked", "buffer", (), None)
ALL = (WEIGHT, BIAS, MEAN, VAR, COUNT)


def parameter(name, shape=(3,), start=None):
    return Own(name, "parameter", shape, start)


def buffer(name, shape=(3,), start=None):
    return Own(name, "buffer", shape, start)


def found(wanted, own, **given):
    matches, left = match(wanted, own, given)
    return {m.wanted.name: (m.own.name, m.how) for m in matches}, [w.name for w in left]


@pytest.mark.parametrize(("ours", "theirs"), [(ours, name) for ours, names in CALLED.items() for name in names])
def test_every_name_in_common_use_is_known(ours, theirs):
    wanted = next(w for w in ALL if w.name == ours)
    for spelled in (theirs, theirs.upper(), f"_{theirs}", f"bn.{theirs}"):
        assert found([wanted], [Own(spelled, "attribute", wanted.shape)])[0] == {ours: (spelled, "known name")}


def test_torchs_own_names_come_before_others_in_use():
    own = [parameter("weight"), parameter("scale"), parameter("bias")]
    assert found([WEIGHT, BIAS], own)[0] == {"weight": ("weight", "its name"), "bias": ("bias", "its name")}


def test_what_alone_has_the_shape_and_role_is_it():
    own = [parameter("alpha2", (1, 3, 1, 1)), buffer("m"), buffer("other", (7,))]
    matches, left = found([WEIGHT, MEAN], own)
    assert matches["weight"] == ("alpha2", "the only one of its shape and role")
    assert matches["running_mean"] == ("m", "the only one of its shape and role")
    assert left == []


def test_of_equal_shapes_the_starting_values_tell():
    own = [parameter("p", start=0.0), parameter("q", start=1.0), buffer("r", start=1.0), buffer("s", start=0.0)]
    matches, _ = found([WEIGHT, BIAS, MEAN, VAR], own)
    assert {ours: theirs for ours, (theirs, _) in matches.items()} == {
        "weight": "q", "bias": "p", "running_mean": "s", "running_var": "r",
    }  # fmt: skip


def test_what_could_be_either_is_answered_with_the_mapping_to_write():
    with pytest.raises(UsageError, match=r"is not clear: it has p \(parameter, \[3\]\), q") as told:
        match([WEIGHT, BIAS], [parameter("p", start=0.5), parameter("q", start=0.5)], {})
    assert "--map p=weight --map q=bias" in str(told.value)
    assert "map={'p': 'weight', 'q': 'bias'}" in str(told.value)


def test_a_given_mapping_comes_first_and_settles_the_rest():
    own = [parameter("p", start=0.5), parameter("q", start=0.5)]
    matches, _ = found([WEIGHT, BIAS], own, q="weight")
    assert matches == {"weight": ("q", "as given"), "bias": ("p", "the only one of its shape and role")}


def test_a_given_mapping_to_what_the_case_does_not_have_changes_nothing():
    assert found([WEIGHT], [parameter("p")], q="running_mean")[0]["weight"][0] == "p"


def test_a_given_name_that_does_not_exist_is_told_with_the_nearest():
    with pytest.raises(UsageError, match="gama=weight names no tensor of the candidate; did you mean 'gamma'"):
        match([WEIGHT], [parameter("gamma")], {"gama": "weight"})


def test_a_given_name_of_another_size_does_not_fit():
    with pytest.raises(UsageError, match=r"does not fit: g has shape \[4\], weight has shape \[3\]"):
        match([WEIGHT], [parameter("g", (4,))], {"g": "weight"})


def test_shapes_that_differ_by_axes_of_length_one_fit_and_others_do_not():
    assert found([WEIGHT], [parameter("g", (1, 3, 1))])[0]
    assert found([WEIGHT], [parameter("g", (3, 3))]) == ({}, ["weight"])


def test_a_plain_attribute_is_found_by_its_name_alone():
    assert found([MEAN], [Own("moving_mean", "attribute", None)])[0] == {"running_mean": ("moving_mean", "known name")}
    assert found([MEAN], [Own("anything", "attribute", (3,))]) == ({}, ["running_mean"])


def test_what_a_match_says_names_the_way_and_what_is_missing():
    (one,), _ = match([VAR], [Own("moving_var", "attribute", (1, 3))], {})
    assert str(one) == "running_var = moving_var (known name, reshaped, attribute, so missing from the state_dict)"
    (plain,), _ = match([WEIGHT], [parameter("weight")], {})
    assert str(plain) == "weight = weight"
