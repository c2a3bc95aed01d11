"""Kernels for CUDA, in Triton: what torch does in several passes over memory, in one.

Only `fused` calls them. Imported on CUDA alone, where torch brings Triton along.
"""

# Triton is in no environment without CUDA, and its language has no types.
# pyright: basic, reportMissingImports=false, reportUnknownMemberType=false

from __future__ import annotations

import triton
import triton.language as tl

_LOWEST = tl.constexpr(-3e38)
"""Below every logit, and still a number: infinities have no difference."""


@triton.jit
def cross_entropy(logits, targets, losses, greedy, width: tl.constexpr, block: tl.constexpr, sloped: tl.constexpr):
    """One row of logits: its loss, whether its target is the most likely, and in its place its gradient."""
    row = tl.program_id(0).to(tl.int64)
    start, target = logits + row * width, tl.load(targets + row)
    own = tl.load(start + target).to(tl.float32)
    columns = tl.arange(0, block)
    highest = tl.full([block], _LOWEST, tl.float32)
    total = tl.zeros([block], tl.float32)
    for begin in range(0, width, block):
        part = tl.load(start + begin + columns, mask=begin + columns < width, other=_LOWEST).to(tl.float32)
        higher = tl.maximum(highest, part)
        total = total * tl.exp(highest - higher) + tl.exp(part - higher)
        highest = higher
    top = tl.max(highest, axis=0)
    normaliser = top + tl.log(tl.sum(total * tl.exp(highest - top), axis=0))
    tl.store(losses + row, normaliser - own)
    tl.store(greedy + row, own >= top)
    if sloped:
        for begin in range(0, width, block):
            inside = begin + columns < width
            part = tl.load(start + begin + columns, mask=inside).to(tl.float32)
            slope = tl.exp(part - normaliser) - tl.where(begin + columns == target, 1.0, 0.0)
            tl.store(start + begin + columns, slope.to(logits.dtype.element_ty), mask=inside)


@triton.jit
def gated(gate_up, out, inner: tl.constexpr, block: tl.constexpr):
    """A part of a row of `operations.swiglu`."""
    row, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < inner
    gate = tl.load(gate_up + row * 2 * inner + columns, mask=inside).to(tl.float32)
    up = tl.load(gate_up + row * 2 * inner + inner + columns, mask=inside).to(tl.float32)
    tl.store(out + row * inner + columns, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), mask=inside)


@triton.jit
def gated_slopes(gate_up, slopes, out, inner: tl.constexpr, block: tl.constexpr):
    """A part of a row of the gradient of `operations.swiglu`, of the gates first and then of the ups."""
    row, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < inner
    gate = tl.load(gate_up + row * 2 * inner + columns, mask=inside).to(tl.float32)
    up = tl.load(gate_up + row * 2 * inner + inner + columns, mask=inside).to(tl.float32)
    slope = tl.load(slopes + row * inner + columns, mask=inside).to(tl.float32)
    open_ = tl.sigmoid(gate)
    of_gate = slope * up * open_ * (1 + gate * (1 - open_))
    tl.store(out + row * 2 * inner + columns, of_gate.to(out.dtype.element_ty), mask=inside)
    tl.store(out + row * 2 * inner + inner + columns, (slope * gate * open_).to(out.dtype.element_ty), mask=inside)


@triton.jit
def turned(
    states,
    from_row,
    cosines,
    sines,
    out,
    out_row,
    heads: tl.constexpr,
    sign: tl.constexpr,
    half: tl.constexpr,
    padded_heads: tl.constexpr,
    padded_half: tl.constexpr,
):
    """All heads of one token, turned by its position, or back where the sign is -1; see `operations.rotate`."""
    token = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, padded_heads)[:, None], tl.arange(0, padded_half)[None, :]
    inside = (head < heads) & (column < half)
    place = head * 2 * half + column
    first = tl.load(states + token * from_row + place, mask=inside).to(tl.float32)
    second = tl.load(states + token * from_row + place + half, mask=inside).to(tl.float32)
    table = token * 2 * half + column
    cosine = tl.load(cosines + table, mask=column < half).to(tl.float32)
    # The first half of the table of sines is negated.
    sine = tl.load(sines + table + half, mask=column < half).to(tl.float32) * sign
    kind = out.dtype.element_ty
    tl.store(out + token * out_row + place, (first * cosine - second * sine).to(kind), mask=inside)
    tl.store(out + token * out_row + place + half, (second * cosine + first * sine).to(kind), mask=inside)


@triton.jit
def scaled(
    states, scales, size, width: tl.constexpr, count: tl.constexpr, rank: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    """Part of a (T, sites * K * rank) times the scale (T, K) of each token and adapter, in place."""
    places = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = places < size
    scale = tl.load(scales + places // width * count + places % width // rank % count, mask=inside)
    found = tl.load(states + places, mask=inside).to(tl.float32) * scale
    tl.store(states + places, found.to(states.dtype.element_ty), mask=inside)


@triton.jit
def adamw(
    weights,
    first,
    second,
    slopes,
    numbers,
    size,
    first_beta: tl.constexpr,
    second_beta: tl.constexpr,
    epsilon: tl.constexpr,
    block: tl.constexpr,
):
    """A part of one adapter's step; its numbers are the clip, the kept share, the step and the root's divisor."""
    slot = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    places, inside = slot * size + columns, columns < size
    clip, kept = tl.load(numbers + slot * 4), tl.load(numbers + slot * 4 + 1)
    step, divisor = tl.load(numbers + slot * 4 + 2), tl.load(numbers + slot * 4 + 3)
    slope = tl.load(slopes + places, mask=inside) * clip
    mean, square = tl.load(first + places, mask=inside), tl.load(second + places, mask=inside)
    mean = mean + (1 - first_beta) * (slope - mean)
    square = second_beta * square + (1 - second_beta) * slope * slope
    weight = tl.load(weights + places, mask=inside) * kept - step * mean / (tl.sqrt(square) / divisor + epsilon)
    tl.store(first + places, mean, mask=inside)
    tl.store(second + places, square, mask=inside)
    tl.store(weights + places, weight, mask=inside)
