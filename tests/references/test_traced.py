"""Differentiating a formula gives what the textbook gives, where the textbook is right."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.judge import Expectation
from conformance.reference import build_reference, reference_class
from references.expected import run
from references.mistakes import MISTAKES, mistaken
from references.mistakes.catalogue import Mistake, right
from references.mistakes.gradients import of_the_formula
from references.mistakes.traced import Traced, UntraceableError, gradients

RIGHT = [
    ("BatchNorm2d", (4, 3, 5, 6), {}),
    ("LayerNorm", (6, 13), {}),
    ("RMSNorm", (6, 13), {}),
    ("GroupNorm", (4, 6, 5), {"num_groups": 2}),
    ("LocalResponseNorm", (3, 7, 5), {"alpha": 0.5, "size": 4}),
    ("Linear", (3, 4), {"out_features": 5}),
    ("Conv2d", (1, 2, 4, 4), {"kernel_size": 2}),
    ("AvgPool2d", (1, 2, 4, 4), {"kernel_size": 2}),
    ("MaxPool2d", (1, 2, 4, 4), {"kernel_size": 2}),
    ("Sigmoid", (3, 5), {}),
    ("Tanh", (3, 5), {}),
    ("Flatten", (2, 3, 4), {}),
]


def steps_of(case, of):
    inputs = make_inputs(case)
    batches = [(step.x, step.grad_output) for step in inputs.steps]
    return run(build_reference(case, of=of), batches, inputs.params, inputs.buffers, case.steps)


@pytest.mark.parametrize(("op", "shape", "given"), RIGHT, ids=[op for op, _, _ in RIGHT])
def test_the_derivative_of_the_right_formula_is_the_textbooks_gradient(case_of, op, shape, given):
    case = case_of(op, shape, data="scaled", steps=("train", "eval"), **given)
    textbook = Expectation(case, make_inputs(case)).steps()
    for one, other in zip(textbook, steps_of(case, of_the_formula(reference_class(op))), strict=True):
        for name, quantity in one.quantities.items():
            np.testing.assert_allclose(other.quantities[name].value, quantity.value, rtol=1e-7, atol=1e-8)


def difference(function, x, upstream):
    """The gradient of sum(upstream * function(x)) by central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        found[place] = (upstream * (function(up) - function(down))).sum() / 2e-5
    return found


FORMULAS = {
    "broadcast": lambda x: x * x.mean(axis=1, keepdims=True) + x.sum(axis=0, keepdims=True),
    "reduce": lambda x: np.add.reduce(x * x, axis=1, keepdims=True) / x,
    "root": lambda x: np.sqrt(np.abs(x) + 1) / np.square(x),
    "powers": lambda x: np.abs(x) ** 1.5 * np.exp(-x) - np.log(np.abs(x)),
    "corner": lambda x: np.maximum(x, 0.1) - np.minimum(x, 0.2),
    "moved": lambda x: np.roll(x, 1, axis=0) * x.reshape(4, 3).transpose(1, 0),
    "parts": lambda x: np.concatenate([x[:, :-1], x[:, -1:] * 2], axis=1) * np.broadcast_to(x[:1], (3, 4)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_operation_is_differentiated_as_differences_say(name):
    x = np.random.default_rng(1).normal(size=(3, 4))
    upstream = np.random.default_rng(2).normal(size=FORMULAS[name](x).shape)
    leaf = Traced(x)
    (found,) = gradients(FORMULAS[name](leaf), upstream, [leaf])
    np.testing.assert_allclose(found, difference(FORMULAS[name], x, upstream), rtol=1e-6, atol=1e-7)


def test_what_has_no_derivative_here_says_so():
    with pytest.raises(UntraceableError, match="frexp"):
        np.frexp(Traced(np.ones(3)))
    with pytest.raises(UntraceableError, match="sort"):
        np.sort(Traced(np.ones(3)))


def test_several_mistakes_are_made_one_inside_the_other(case_of):
    case = case_of("BatchNorm2d", (4, 3, 5, 6), data="scaled")
    swapped, biased = MISTAKES["momentum-swapped"], MISTAKES["running-var-biased"]
    reference = reference_class(case.op)
    both = steps_of(case, mistaken(reference, swapped, biased))[0].quantities["buffer.running_var"].value
    for one in (swapped, biased):
        assert not np.allclose(both, steps_of(case, mistaken(reference, one))[0].quantities["buffer.running_var"].value)
    np.testing.assert_array_equal(
        both, steps_of(case, mistaken(reference, biased, swapped))[0].quantities["buffer.running_var"].value
    )


def test_a_mistake_reaches_the_method_as_the_mistakes_before_it_left_it():
    class Plain:
        def value(self):
            return 1

    def added(amount):
        return Mistake(f"add-{amount}", "adds", "output", (), {"value": lambda self: right(self).value() + amount})

    assert mistaken(Plain, added(1), added(10), added(100))().value() == 112
