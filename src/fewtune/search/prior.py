"""Where to look for the learning rate before anything was trained."""

from __future__ import annotations


def learning_rate_prior(hidden_size: int) -> float:
    """A rate for LoRA from the base's hidden size: 5e-5 * 10 * (2000 / hidden_size) ** 0.781.

    Source: the Tinker cookbook's formula for the Llama family (tinker_cookbook/hyperparam_utils.py; explained at
    https://tinker-docs.thinkingmachines.ai/supervised-learning/sl-hyperparams), fitted on bases of 1B parameters
    and more. For tiny bases it is an extrapolation, not a calibration: at hidden size 256 it gives 2.5e-3, where
    one reference sweep on a base of 4.6M parameters found 3.93, 3.85 and 3.91 nats of validation loss at
    5e-4, 2e-3 and 5e-3. So it is where a sweep looks, not what a single training should trust.
    """
    if hidden_size < 1:
        raise ValueError(f"a hidden size is at least 1, not {hidden_size}")
    return 5e-5 * 10 * (2000 / hidden_size) ** 0.781


def around(prior: float) -> tuple[float, float, float]:
    """A third of the prior, the prior and its double, each to one significant digit.

    Wider below than above: a rate too low by three learns a little less, one too high by three diverges.
    """
    return _one_digit(prior / 3), _one_digit(prior), _one_digit(prior * 2)


def _one_digit(value: float) -> float:
    return float(f"{value:.0e}")
