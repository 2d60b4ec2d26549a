"""The quick set."""

from __future__ import annotations

from conformance.checking.quick import features_of, free_arguments, quick_set


def test_every_value_of_every_axis_occurs(shipped):
    whole = [case for case in shipped if case.op == "BatchNorm2d"]
    chosen = quick_set(whole)
    assert set().union(*map(features_of, chosen)) == set().union(*map(features_of, whole))


def test_it_is_a_small_part_in_the_order_of_the_suite(shipped):
    for op in ("BatchNorm2d", "LayerNorm", "GroupNorm"):
        whole = [case for case in shipped if case.op == op]
        chosen = quick_set(whole)
        assert len(chosen) < len(whole) / 4
        assert list(chosen) == [case for case in whole if case in chosen]


def test_of_cases_that_show_the_same_the_smaller_is_taken(case_of):
    large, small = (case_of("LayerNorm", (size, 8), key=str(size)) for size in (400, 4))
    # a shape is a value of its own, so both shapes occur; of three, one adds nothing
    again = case_of("LayerNorm", (4, 8), key="again", id="x::again")
    assert quick_set([large, small, again]) == (large, small)


def test_arguments_that_follow_from_the_shape_are_no_axis(case_of):
    assert set(free_arguments(case_of("BatchNorm2d", (2, 3, 4, 4)))) == {
        "eps", "momentum", "affine", "track_running_stats", "bias",
    }  # fmt: skip
    assert "normalized_shape" not in free_arguments(case_of("LayerNorm", (2, 3)))
