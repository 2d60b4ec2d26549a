"""Random numbers that depend on a key and a counter alone."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.inputs import bits

SETTINGS = settings(max_examples=50, deadline=None, derandomize=True)


def splitmix64(state):
    """The next output of SplitMix64 in Python's own integers."""
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return z ^ (z >> 31)


@SETTINGS
@given(key=st.text(max_size=20), lane=st.integers(0, 5))
def test_the_words_are_those_of_splitmix64(key, lane):
    start = int.from_bytes(sha256(f"{key}/{lane}".encode()).digest()[:8], "little")
    expected = [splitmix64((start + k * 0x9E3779B97F4A7C15) % 2**64) for k in range(1, 6)]
    assert [int(word) for word in bits.words(key, 5, lane)] == expected


def test_the_first_word_of_the_published_generator_at_seed_zero():
    """SplitMix64 seeded with 0 begins with e220a8397b1dcdaf."""
    assert splitmix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


@SETTINGS
@given(key=st.text(max_size=20), count=st.integers(0, 50), more=st.integers(0, 50))
def test_the_first_numbers_do_not_depend_on_how_many_are_drawn(key, count, more):
    np.testing.assert_array_equal(bits.words(key, count), bits.words(key, count + more)[:count])
    np.testing.assert_array_equal(bits.normal(key, (count,)), bits.normal(key, (count + more,))[:count])


def test_long_draws_are_those_of_the_generator_where_a_block_ends_and_the_next_begins():
    """Every word stands at its own counter, however many are drawn at once."""
    count, start = 3 * bits._AT_ONCE + 7, bits._start("long", 2)
    drawn = bits.words("long", count, 2)
    for place in (0, bits._AT_ONCE - 1, bits._AT_ONCE, 2 * bits._AT_ONCE, count - 1):
        assert int(drawn[place]) == splitmix64((start + (place + 1) * 0x9E3779B97F4A7C15) % 2**64)
    numbers = bits.normal("long", (count,))
    np.testing.assert_array_equal(numbers[: bits._AT_ONCE], bits.normal("long", (bits._AT_ONCE,)))
    assert sha256(numbers.tobytes()).hexdigest()[:12] == "9bf666fa852f"  # as they were drawn all at once


def test_keys_and_lanes_give_different_numbers():
    drawn = [bits.words(key, 4, lane).tobytes() for key in ("a", "b", "a/0") for lane in (0, 1)]
    assert len(set(drawn)) == 6


def test_uniforms_lie_strictly_between_zero_and_one_and_fill_it_evenly():
    u = bits.uniform("even", (100_000,))
    assert 0 < u.min() < u.max() < 1
    counts, _ = np.histogram(u, bins=20, range=(0, 1))
    assert np.abs(counts - 5000).max() < 5 * np.sqrt(5000)


def test_the_extreme_words_stay_inside_the_open_interval(monkeypatch):
    monkeypatch.setattr(bits, "words", lambda *_: np.array([0, 2**64 - 1], np.uint64))
    low, high = bits.uniform("", (2,))
    assert low == 2.0**-54
    assert high <= 1 - 2.0**-54


@pytest.mark.parametrize(("moment", "expected"), [(1, 0), (2, 1), (3, 0), (4, 3 - 6 / 5 / 12)])
def test_the_moments_are_those_of_twelve_uniforms(moment, expected):
    """Excess kurtosis of a sum of 12 uniforms: -6/5 / 12."""
    z = bits.normal("moments", (400_000,))
    assert np.mean(z**moment) == pytest.approx(expected, abs=0.06)


def test_normals_have_no_ties_and_stay_within_six():
    z = bits.normal("ties", (100_000,))
    assert np.abs(z).max() < 6
    assert len(np.unique(z)) == 100_000


def test_shapes_are_filled_in_order():
    np.testing.assert_array_equal(bits.normal("k", (3, 4)).ravel(), bits.normal("k", (12,)))
    assert bits.uniform("k", ()).shape == ()
    assert bits.normal("k", (0, 3)).shape == (0, 3)
