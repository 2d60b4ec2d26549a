"""Layers that draw get seeds that follow from the case; all others leave the generators alone."""

from __future__ import annotations

import torch

from conformance.backends.seeds import draws, seed_of, seeded


def test_a_seed_follows_from_key_and_step(case_of):
    case = case_of("Dropout")
    assert seed_of(case) == seed_of(case_of("Dropout"))
    assert len({seed_of(case, step) for step in range(50)}) == 50
    assert all(0 <= seed_of(case, step) < 2**31 for step in range(50))


def test_only_ops_that_may_draw_are_seeded(case_of):
    assert [draws(case_of(op)) for op in ("Dropout", "Dropout2d", "Linear", "BatchNorm2d")] == [
        True,
        True,
        False,
        False,
    ]


def test_inside_the_generator_is_that_of_the_case_and_afterwards_what_it_was(case_of):
    before = torch.random.get_rng_state()
    with seeded(case_of("Dropout")):
        first = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    with seeded(case_of("Dropout")):
        assert torch.equal(torch.rand(3), first)
    with seeded(case_of("Linear")):
        assert torch.equal(torch.random.get_rng_state(), before)
