"""Products with a base's frozen matrices, which may be kept in fewer bits than what they are multiplied with.

Then the other factor is rounded to the matrix's type, sums are formed in fp32, rounded once, and given in the type of
the other factor.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_FEW = 32
"""Rows of a pass that writes answers."""
_STEPS = ((_FEW, 4), (128, 32), (512, 64))
"""How far numbers of rows lie apart that are filled up to, and up to where."""
_LARGEST_STEP = 256


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + bias, in the type of x (T, inputs); W is (outputs, inputs)."""
    if weight.dtype == x.dtype:
        return functional.linear(x, weight, bias)
    y = _through(x, weight) if len(x) <= _FEW else product(x, weight.T)
    return y if bias is None else y + bias


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """x (T, K) times a matrix (K, N), in the type of x."""
    if matrix.dtype == x.dtype:
        return x @ matrix
    return (_filled_up(x, matrix) @ matrix)[: len(x)].to(x.dtype)


def _through(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T of few rows, sides exchanged: the library lays the right one out anew, here by far the smaller one."""
    if len(x) == 1:
        return torch.mv(weight, x[0].to(weight.dtype)).to(x.dtype)[None]
    y = (weight @ _filled_up(x, weight).T)[:, : len(x)]
    return y.T.to(x.dtype, memory_format=torch.contiguous_format)


def _filled_up(x: Tensor, matrix: Tensor) -> Tensor:
    """x in the matrix's type, with rows of zeros up to a number of rows that comes often.

    Rows do not meet in a product, so the others are what they would be without.
    """
    rows, filled = len(x), _often(len(x))
    if filled == rows:
        return x.to(matrix.dtype)
    rounded = matrix.new_empty(filled, x.shape[1])
    rounded[:rows] = x
    rounded[rows:] = 0
    return rounded


def _often(rows: int) -> int:
    """The next number of rows that kernels are compiled for.

    The library compiles one for each number and each shape of matrix and keeps them: for a small base 20 to 50 ms, in
    which half a piece could be trained, and 9 MB. A row too many takes 25 microseconds there.
    """
    if rows == 1:
        return 1
    step = next((step for most, step in _STEPS if rows <= most), _LARGEST_STEP)
    return -(-rows // step) * step
