"""The own implementations against the references, far inside the allowance on harmless data."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from conformance.calibration.apply import FORMS, Layer
from conformance.calibration.stable import RECIPES
from conformance.inputs import make_inputs
from conformance.judge import Expectation

LAYERS = {
    "batch": ("BatchNorm2d", (4, 3, 5, 3), {}),
    "batch-average": ("BatchNorm1d", (7, 3), {"momentum": None}),
    "batch-untracked": ("BatchNorm1d", (7, 3), {"track_running_stats": False, "bias": False}),
    "layer": ("LayerNorm", (6, 13), {}),
    "layer-plain": ("LayerNorm", (6, 2, 5), {"normalized_shape": [2, 5], "elementwise_affine": False}),
    "rms": ("RMSNorm", (6, 13), {}),
    "instance": ("InstanceNorm1d", (3, 4, 9), {"affine": True, "track_running_stats": True}),
    "unbatched": ("InstanceNorm1d", (4, 9), {"affine": True}),
    "group": ("GroupNorm", (3, 6, 5), {"num_groups": 2}),
}


def figures(case_of, name, dtype, recipe, form, steps=("train", "train", "eval")):
    """The largest |got - expected| / max|expected| of every quantity."""
    op, shape, args = LAYERS[name]
    case = msgspec.structs.replace(case_of(op, shape, dtype, **args), steps=steps, data="scaled")
    inputs = make_inputs(case)
    worst = {}
    for expected, got in zip(Expectation(case, inputs).steps(), Layer(case, recipe, form).run(inputs), strict=True):
        assert got.keys() == expected.quantities.keys()
        for quantity, wanted in expected.quantities.items():
            assert got[quantity].shape == wanted.value.shape
            error = np.abs(got[quantity] - wanted.value).max() / max(1.0, np.abs(wanted.value).max())
            worst[quantity] = max(worst.get(quantity, 0.0), float(error))
    return worst


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_form_of_every_layer_computes_the_definition(case_of, name, form):
    assert max(figures(case_of, name, "float32", RECIPES[0], form).values()) < 3e-5
    assert max(figures(case_of, name, "float64", RECIPES[0], form).values()) < 1e-13


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_computes_the_definition(case_of, recipe):
    for name in LAYERS:
        assert max(figures(case_of, name, "float32", recipe, FORMS[0]).values()) < 3e-5


def test_narrow_formats_are_computed_in_float32(case_of):
    """Before the rounding on store nothing of bfloat16 is left but the inputs."""
    assert max(figures(case_of, "batch-untracked", "bfloat16", RECIPES[0], FORMS[0]).values()) < 3e-5
    assert figures(case_of, "batch", "bfloat16", RECIPES[0], FORMS[0])["buffer.num_batches_tracked"] == 0


def test_stored_buffers_are_what_the_next_step_starts_from(case_of):
    """A bfloat16 buffer loses its low bits between two steps, and only there."""
    op, shape, args = LAYERS["batch"]
    case = msgspec.structs.replace(case_of(op, shape, "bfloat16", **args), steps=("train", "eval"))
    first, second = Layer(case, RECIPES[0], FORMS[0]).run(make_inputs(case))
    kept = second["buffer.running_mean"]
    assert np.array_equal(kept, first["buffer.running_mean"].astype(kept.dtype))
    assert not np.array_equal(first["buffer.running_mean"], kept.astype(np.float32))


def test_forms_round_differently(case_of):
    op, shape, args = LAYERS["batch"]
    case = case_of(op, shape, "float32", **args)
    inputs = make_inputs(case)
    results = {Layer(case, RECIPES[0], form).run(inputs)[0]["grad_input"].tobytes() for form in FORMS}
    assert len(results) >= 4
