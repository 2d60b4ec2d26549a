"""Every divergence that is shipped says how far a result may be off, so that one that is further off is a failure."""

from __future__ import annotations

import math

import pytest

from conformance.suite.loader import load_suite

SUITE = load_suite()
DIVERGENCES = [pytest.param(each, id=name) for name, each in SUITE.divergences.items()]
#: what a reason says where no number bounds a result: it is none, or the right one is zero
BOUNDLESS = ("NaN", "infinit", "beyond range", "gradient 0")


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_divergence_is_held_to_a_size_a_class_another_definition_or_an_exception(divergence):
    """One that only names quantities excuses their type and shape, and no value: see judge.verdict."""
    refuses = divergence.raises is not None or divergence.when.get("raises") is True  # or does not, where it should
    bounded = divergence.size or divergence.precision or divergence.reference
    assert refuses or bounded or divergence.quantities, divergence.origin


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_what_has_no_upper_size_is_no_number(divergence):
    if any(math.isinf(high) for _, high in divergence.size.values()):
        assert any(words in divergence.why for words in BOUNDLESS), divergence.origin
