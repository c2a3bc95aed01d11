"""Where to look for the learning rate before anything was trained."""

from __future__ import annotations


def learning_rate_prior(hidden_size: int) -> float:
    """A rate for LoRA from the base's hidden size: 5e-5 * 10 * (2000 / hidden_size) ** 0.781.

    Source: the Tinker cookbook's formula for the Llama family (tinker_cookbook/hyperparam_utils.py; explained at
    https://tinker-docs.thinkingmachines.ai/supervised-learning/sl-hyperparams), fitted on bases of 1B parameters
    and more. For small bases it is an extrapolation, and it lies high: at hidden size 384 it gives 1.8e-3, where the
    built-in base is best at 3e-4 to 1e-3 on short answers and at twice the rate overfits after one or two epochs.
    So it is where a sweep looks, not what a single training should trust.
    """
    if hidden_size < 1:
        raise ValueError(f"a hidden size is at least 1, not {hidden_size}")
    return 5e-5 * 10 * (2000 / hidden_size) ** 0.781


def around(prior: float) -> tuple[float, float, float]:
    """A quarter of the prior, its half and the prior, each to one significant digit.

    Nothing above it: on the built-in base double the prior was the worst rate on labels at any number of epochs, and
    the prior itself the best on prose after one. A rate too low by two learns a little less, one too high by two
    overfits or diverges.
    """
    return _one_digit(prior / 4), _one_digit(prior / 2), _one_digit(prior)


def _one_digit(value: float) -> float:
    return float(f"{value:.0e}")
