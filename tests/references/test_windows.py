"""Where windows read, on axes short enough to count on fingers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from references.windows import Axis, Windows, pair

OUTSIDE = 4  # the length of the axes here


def positions(**given):
    return Axis(OUTSIDE, **given).positions.tolist()


def test_windows_of_three_with_one_element_of_padding():
    assert positions(kernel=3, before=1, after=1) == [[4, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_dilated_windows_leave_out_elements():
    assert positions(kernel=2, dilation=2) == [[0, 2], [1, 3]]


def test_a_stride_skips_windows_and_what_is_left_over_is_not_read():
    assert positions(kernel=2, stride=3) == [[0, 1]]
    assert positions(kernel=2, stride=3, ceil_mode=True) == [[0, 1], [3, 4]]


def test_no_window_starts_in_the_padding_after_the_image():
    assert Axis(4, 2, stride=3, before=1, after=1, ceil_mode=True).count == 2
    assert Axis(4, 2, stride=2, before=1, after=1, ceil_mode=True).count == 3


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_read_what_torch_puts_into_the_padding(mode):
    x = torch.arange(1.0, 21).reshape(1, 1, 4, 5)
    padded = pad(x, (2, 1, 1, 2), mode=mode)
    over = Windows(Axis(4, 1, before=1, after=2, mode=mode), Axis(5, 1, before=2, after=1, mode=mode))
    gathered = over.gather(x.numpy()).reshape(1, 1, *padded.shape[2:])
    np.testing.assert_array_equal(gathered, padded.numpy())


def test_spreading_is_the_transpose_of_gathering():
    """<gather x, y> = <x, spread y> for every padding mode."""
    rng = np.random.default_rng(0)
    for mode in ("zeros", "reflect", "replicate", "circular"):
        over = Windows(Axis(5, 3, 2, 2, 1, mode=mode), Axis(6, 2, 1, 1, 1, 2, mode=mode))
        x = rng.normal(size=(2, 3, 5, 6))
        gathered = over.gather(x)
        y = rng.normal(size=gathered.shape)
        np.testing.assert_allclose((gathered * y).sum(), (x * over.spread(y)).sum(), rtol=1e-12)


def test_it_counts_how_often_an_element_is_read_at_most():
    assert Windows(Axis(5, 3), Axis(5, 3)).most == 9
    assert Windows(Axis(4, 2, 2), Axis(4, 2, 2)).most == 1


def test_without_images_there_is_nothing_to_gather_or_spread():
    over = Windows(Axis(4, 2), Axis(4, 2))
    assert over.gather(np.zeros((0, 3, 4, 4))).shape == (0, 3, 9, 4)
    assert over.spread(np.zeros((0, 3, 9, 4))).shape == (0, 3, 4, 4)


def test_one_number_stands_for_both_axes():
    assert pair(3) == (3, 3)
    assert pair([1, 2]) == (1, 2)
