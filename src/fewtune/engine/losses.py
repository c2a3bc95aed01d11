"""What a training makes small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fewtune.data.encode import Encoded


def weight(batch: Sequence[Encoded], prompt_loss_weight: float) -> float:
    """Sum of the weights of a batch's targets: 1 for what is trained, less for the prompt and what stands between."""
    return sum(e.trained_tokens + prompt_loss_weight * (len(e.ids) - 1 - e.trained_tokens) for e in batch)


def weights(answers: Tensor, prompt_loss_weight: float) -> Tensor:
    """(P,) of one trial's targets; they sum to `weight`."""
    return torch.where(answers, 1.0, prompt_loss_weight)


def preference(log_likelihoods: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Sum over pairs of -log sigmoid(beta * margin), from the likelihoods (pairs, 2) of better and worse answers.

    The margin is how much further apart they stand than under the reference: Rafailov et al., "Direct
    Preference Optimization" (2023), equation 7.
    """
    gains = log_likelihoods - reference
    return softplus(-beta * (gains[:, 0] - gains[:, 1])).sum()
