"""Local response normalisation: every own form computes the definition."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.calibration.window import WINDOW_FORMS, WindowLayer
from conformance.inputs import make_inputs
from conformance.judge import Expectation


@pytest.mark.parametrize("form", WINDOW_FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 3e-6), ("float64", 1e-14)])
def test_every_form_computes_the_definition(case_of, form, size, dtype, limit):
    case = case_of("LocalResponseNorm", (2, 7, 3), dtype, size=size, alpha=0.5, beta=0.7, k=0.5, data="scaled")
    inputs = make_inputs(case)
    (expected,), (got,) = Expectation(case, inputs).steps(), WindowLayer(case, form).run(inputs)
    for name, quantity in expected.quantities.items():
        assert got[name].dtype == np.dtype(dtype)
        assert np.abs(got[name] - quantity.value).max() <= limit * np.abs(quantity.value).max()
