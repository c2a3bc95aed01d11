from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from fewtune.engine import head
from fewtune.engine.head import target_losses

WIDTH, VOCABULARY = 6, 20


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_losses_and_gradient_are_those_of_cross_entropy_whatever_fits_into_a_chunk(count: int, biased: bool) -> None:
    assert head.ROWS_AT_ONCE["cpu"] == 128
    weight, bias = drawn(VOCABULARY, WIDTH), drawn(VOCABULARY) if biased else None
    targets = torch.randint(VOCABULARY, (count,), generator=torch.Generator().manual_seed(1))
    ours, theirs = (drawn(count, WIDTH).requires_grad_() for _ in range(2))
    losses, greedy = target_losses(ours, weight, bias, targets)
    logits = linear(theirs, weight, bias)
    expected = cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(losses, expected)
    assert torch.equal(greedy, logits.argmax(dim=1) == targets)
    shares = drawn(count, seed=2)
    (losses * shares).sum().backward()
    (expected * shares).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_logits_of_any_size_neither_overflow_nor_vanish() -> None:
    hidden = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    losses, greedy = target_losses(hidden, torch.eye(2), None, torch.tensor([0, 0]))
    assert losses.tolist() == [0.0, 1e4]
    assert greedy.tolist() == [True, False]


def test_a_hidden_state_that_is_no_number_gives_a_loss_that_is_none() -> None:
    losses, _ = target_losses(torch.full((1, 2), torch.nan), torch.eye(2), None, torch.tensor([0]))
    assert losses.isnan().all()


def test_of_logits_that_rounding_made_equal_the_first_is_the_most_likely_as_in_sampling() -> None:
    hidden, weight = torch.ones(4, 2), torch.tensor([[0.0, 1.0], [1.0, 1.001], [1.0, 1.0], [1.0, 1.0]])
    targets = torch.arange(4)
    _, greedy = target_losses(hidden, weight.bfloat16(), None, targets)
    assert greedy.tolist() == [False, True, False, False]
    _, exact = target_losses(hidden, weight, None, targets)
    assert exact.tolist() == [False, True, False, False]


@pytest.mark.parametrize("count", [1, 40, 130])
def test_with_a_weight_in_bf16_losses_and_gradient_are_near_those_of_cross_entropy(count: int) -> None:
    weight, targets = drawn(VOCABULARY, WIDTH), torch.arange(count) % VOCABULARY
    ours, theirs = (drawn(count, WIDTH).requires_grad_() for _ in range(2))
    losses, _ = target_losses(ours, weight.bfloat16(), None, targets)
    expected = cross_entropy(linear(theirs, weight), targets, reduction="none")
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, rtol=0.02, atol=0.05)
    losses.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0.02, atol=0.05)
