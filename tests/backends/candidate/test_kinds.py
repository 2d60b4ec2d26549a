"""What a candidate is taken for."""

from __future__ import annotations

import functools

import candidates
import numpy as np
import pytest
import torch

from conformance.backends.candidate.kinds import nature_of
from conformance.errors import UsageError

ARGUMENTS = ("normalized_shape", "eps", "elementwise_affine", "bias")


def makes(normalized_shape, **args):
    """A factory, by its first parameter."""


def makes_anything(**args):
    """A factory, by having nothing but arguments."""


def annotated(x: np.ndarray, params, buffers, *, training):
    return x


class Called:
    def __call__(self, x):
        return np.tanh(x)


@pytest.mark.parametrize(
    ("candidate", "kind", "library"),
    [
        (torch.nn.LayerNorm, "module", "torch"),
        (candidates.AutogradLayerNorm, "autograd", "torch"),
        (candidates.layer_norm, "function", "torch"),
        (candidates.layer_norm_by_names, "function", "torch"),
        (candidates.numpy_layer_norm, "function", "numpy"),
        (annotated, "function", "numpy"),
        (np.tanh, "function", "numpy"),
        (candidates.NumpyLayerNorm, "object", "numpy"),
        (candidates.TensorLayerNorm, "object", "torch"),
        (Called, "object", "numpy"),
        (makes, "factory", "torch"),
        (makes_anything, "factory", "torch"),
        (functools.partial(torch.nn.LayerNorm, 5), "factory", "torch"),
        (functools.partial(candidates.layer_norm, scale=1), "function", "torch"),
    ],
)
def test_a_candidate_is_taken_for_what_it_looks_like(candidate, kind, library):
    nature = nature_of(candidate, "", ARGUMENTS)
    assert (nature.kind, nature.library) == (kind, library)
    assert nature.why


def test_what_is_asked_for_is_taken_at_its_word():
    assert nature_of(candidates.layer_norm, "numpy", ARGUMENTS).library == "numpy"
    assert nature_of(candidates.NumpyLayerNorm, "numpy", ARGUMENTS).kind == "object"
    assert nature_of(lambda a: a, "factory", ARGUMENTS).kind == "factory"


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (torch.nn.LayerNorm(3), "an instance of LayerNorm was given.*\ngive the class, LayerNorm, or a function"),
        (candidates, "candidates is a module, not a layer\nname what is in it"),
        (42, "int cannot be called"),
        (dict, "the class dict has no forward"),
        (torch.tanh, r"what tanh takes cannot be read.*\nwrite a function of your own around it: def f\(x, params"),
        (lambda a, b: a, "could be a factory, which makes a layer, or a function, which is one\nsay which: --as"),
    ],
)
def test_what_is_no_candidate_is_told(candidate, says):
    with pytest.raises(UsageError, match=says):
        nature_of(candidate, "", ARGUMENTS)
