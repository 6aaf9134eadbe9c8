"""Winograd's convolution is the plain one, for every size, dilation and number of channels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from segmentation_backend.models.winograd import (
    TileProducts,
    TileValues,
    best_tile,
    prepare,
    tile_count,
)

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


def winograd(x, weight, bias, side, gap, other=None, rectify=False):
    values = TileValues(side, gap)(x)
    tiles = tile_count(x.shape[2:], side, gap)
    products = TileProducts(
        prepare(weight, side, tiles), bias, side, gap, tuple(x.shape[2:]), rectify
    )
    return products(values, other)


@settings(deadline=None)  # torch's first calls take long
@given(
    side=st.sampled_from([2, 3, 4]),
    gap=st.integers(1, 7),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 21), st.integers(1, 21)),
    outputs=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_it_is_the_plain_convolution(side, gap, shape, outputs, seed):
    torch.manual_seed(seed)
    x, weight = torch.randn(shape), torch.randn(outputs, shape[1], 3, 3)
    bias = torch.randn(outputs)
    expected = functional.conv2d(x.double(), weight.double(), bias.double(), 1, gap, gap)
    found = winograd(x, weight, bias, side, gap)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-4)


def test_sums_and_rectifies_on_the_way():
    torch.manual_seed(0)
    x, weight, other = torch.randn(1, 4, 9, 10), torch.randn(6, 4, 3, 3), torch.randn(1, 6, 9, 10)
    plain = functional.conv2d(x, weight, None, 1, 2, 2)
    torch.testing.assert_close(
        winograd(x, weight, None, 4, 2, other, rectify=True),
        (plain + other).relu(),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(("side", "bound"), [(3, 6e-6), (4, 2e-5)])
def test_the_errors_are_as_small_as_stated(side, bound):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 512, 32, 32).relu(), torch.randn(64, 512, 3, 3)
    expected = functional.conv2d(x.double(), weight.double(), None, 1, 1, 1)
    error = (winograd(x, weight, None, side, 1).double() - expected).abs().max()
    assert error < bound * expected.abs().max()


def test_it_is_chosen_where_it_takes_less_work():
    assert best_tile((2048, 256), (32, 32), 2, 0.08) == 4
    assert best_tile((512, 512), (32, 32), 1, 0.04) in (3, 4)
    assert best_tile((16, 16), (128, 128), 1, 0.01) == 0
    assert best_tile((256, 256), (5, 5), 6, 0.5) == 0
