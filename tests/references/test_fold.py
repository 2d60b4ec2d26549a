"""Folding is a bijection, and gathering is what spreading is the derivative of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from references.batch_norm import BatchNorm
from references.fold import Fold
from references.group_norm import GroupNorm
from references.instance_norm import InstanceNorm1d, InstanceNorm2d
from references.layer_norm import LayerNorm
from references.rounding import precision


@st.composite
def folds(draw):
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    kept = draw(st.integers(0, len(shape)))
    slices = int(np.prod([shape[axis] for axis in order[:kept]], dtype=int))
    parameters = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1)))))
    return Fold(shape, order, slices, parameters)


SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)


@SETTINGS
@given(fold=folds())
def test_unfolding_undoes_folding(fold):
    x = np.arange(np.prod(fold.shape, dtype=int)).reshape(fold.shape)
    folded = fold.fold(x)
    assert folded.shape == (fold.slices, fold.elements)
    np.testing.assert_array_equal(fold.unfold(folded), x)


@SETTINGS
@given(fold=folds(), seed=st.integers(0, 1000))
def test_gathering_is_the_adjoint_of_spreading(fold, seed):
    """<spread(p), x> = <p, gather(x)>: the gradient of a parameter sums over everything that it touched."""
    rng = np.random.default_rng(seed)
    p = rng.integers(-9, 9, [fold.shape[axis] for axis in fold.parameter_axes])
    x = rng.integers(-9, 9, (fold.slices, fold.elements))
    assert (fold.spread(p) * x).sum() == (p * fold.gather(x)).sum()


@SETTINGS
@given(fold=folds(), seed=st.integers(0, 1000))
def test_a_condition_is_gathered_where_any_element_has_it(fold, seed):
    x = np.random.default_rng(seed).random((fold.slices, fold.elements)) < 0.3
    np.testing.assert_array_equal(fold.gather_any(x), fold.gather(x.astype(int)) > 0)


@SETTINGS
@given(fold=folds())
def test_a_parameter_touches_as_many_elements_as_its_gradient_has_terms(fold):
    ones = np.ones((fold.slices, fold.elements))
    assert (fold.gather(ones) == fold.terms).all()


@pytest.mark.parametrize(
    ("layer", "args", "shape", "together"),
    [
        (BatchNorm, {"num_features": 3}, (2, 3, 2), lambda i: i[1]),
        (BatchNorm, {"num_features": 3}, (4, 3), lambda i: i[1]),
        (InstanceNorm1d, {"num_features": 3}, (2, 3, 2), lambda i: i[:2]),
        (InstanceNorm1d, {"num_features": 3}, (3, 2), lambda i: i[:1]),
        (InstanceNorm2d, {"num_features": 3}, (2, 3, 2, 2), lambda i: i[:2]),
        (GroupNorm, {"num_groups": 2}, (2, 4, 3), lambda i: (i[0], i[1] // 2)),
        (LayerNorm, {"normalized_shape": [3]}, (2, 4, 3), lambda i: i[:2]),
        (LayerNorm, {"normalized_shape": [4, 3]}, (2, 4, 3), lambda i: i[:1]),
        (LayerNorm, {"normalized_shape": [4]}, (4,), lambda i: ()),
    ],
)
def test_each_layer_normalises_together_what_its_definition_says(layer, args, shape, together):
    fold = layer(args, "float32", "float32", precision("float32")).fold(shape)
    names = np.empty(shape, object)
    for index in np.ndindex(shape):
        names[index] = together(index)
    rows = [set(row) for row in fold.fold(names)]
    assert all(len(row) == 1 for row in rows)
    assert len(set.union(*rows)) == len(rows) == fold.slices
