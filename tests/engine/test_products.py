from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewtune.engine.products import _often, linear, product

INPUTS, OUTPUTS = 24, 40
COUNTS = (1, 2, 7, 16, 31, 32, 33, 63, 64, 65, 100, 250)
"""One alone, few, and such as are filled up."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def weight() -> Tensor:
    return drawn(OUTPUTS, INPUTS, seed=1)


def in_bf16(tensor: Tensor) -> Tensor:
    """Rounded as a factor is, and exact from then on."""
    return tensor.bfloat16().double()


@pytest.mark.parametrize("biased", [True, False])
def test_matrices_in_the_type_of_their_input_are_multiplied_as_ever(weight: Tensor, biased: bool) -> None:
    x, bias = drawn(50, INPUTS), drawn(OUTPUTS) if biased else None
    assert torch.equal(linear(x, weight, bias), functional.linear(x, weight, bias))
    assert torch.equal(product(x, weight.T), x @ weight.T)


@pytest.mark.parametrize("count", COUNTS)
def test_matrices_in_bf16_give_fp32_of_which_factors_and_sums_are_rounded_once(weight: Tensor, count: int) -> None:
    x, bias = drawn(count, INPUTS), drawn(OUTPUTS)
    found = linear(x, weight.bfloat16(), bias)
    exact = in_bf16(x) @ in_bf16(weight).T
    assert found.dtype == torch.float32
    # A sum that is rounded to 8 binary digits is off by 2^-9 of itself; the order of sums in fp32 may tip it over.
    torch.testing.assert_close((found - bias).double(), exact, rtol=2**-8, atol=1e-5)
    back = product(found, weight.bfloat16())
    torch.testing.assert_close(back.double(), in_bf16(found) @ in_bf16(weight), rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("count", COUNTS)
def test_what_rows_are_filled_up_with_changes_no_bit_of_them(weight: Tensor, count: int) -> None:
    x = drawn(256, INPUTS)
    filled = _often(count)
    whole = product(x[:filled], weight.bfloat16().T)
    assert torch.equal(product(x[:count], weight.bfloat16().T), whole[:count])
    silent = torch.cat([x[:count], torch.zeros(filled - count, INPUTS)])
    assert torch.equal(product(silent, weight.bfloat16().T)[:count], whole[:count])


def test_a_row_has_the_same_product_whatever_stands_beside_it_but_for_one_rounding(weight: Tensor) -> None:
    """Kernels for other numbers of rows may sum in another order; rounding to bf16 hides that in nearly all sums."""
    x, kept = drawn(256, INPUTS), weight.bfloat16()
    whole, differing = linear(x, kept, None), 0
    for count in COUNTS:
        beside = linear(x[:count], kept, None)
        torch.testing.assert_close(beside, whole[:count], rtol=2**-7, atol=1e-5)
        differing += int((beside != whole[:count]).sum())
    assert differing < 0.01 * sum(COUNTS) * OUTPUTS


def test_rows_that_are_no_number_stay_among_themselves(weight: Tensor) -> None:
    x = drawn(40, INPUTS)
    spoilt = x.clone()
    spoilt[7] = torch.nan
    sound, beside = (product(given, weight.bfloat16().T) for given in (x, spoilt))
    assert beside[7].isnan().all()
    assert torch.equal(torch.cat([beside[:7], beside[8:]]), torch.cat([sound[:7], sound[8:]]))


@pytest.mark.parametrize("count", [5, 40])
def test_where_a_gradient_is_wanted_it_is_the_product_with_the_same_matrix(weight: Tensor, count: int) -> None:
    x, slopes = drawn(count, INPUTS).requires_grad_(), drawn(count, OUTPUTS, seed=2)
    (found,) = torch.autograd.grad(linear(x, weight.bfloat16(), None), x, slopes)
    torch.testing.assert_close(found, slopes @ weight, rtol=0.02, atol=0.1)


def test_passes_come_in_few_sizes_since_each_costs_compiled_kernels() -> None:
    sizes = {_often(count) for count in range(1, 2049)}
    assert sizes == {1, *range(4, 33, 4), 64, 96, 128, *range(192, 513, 64), *range(768, 2049, 256)}
    assert all(count <= _often(count) < count + 256 for count in range(1, 5000))
