"""Bits per byte of general prose, by the base and by the tuned model."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.encode import Encoder
from fewtune.evaluation.forgetting import bits_per_byte, change, prose
from fewtune.providers.contract import BASE, Provider, Request, Score
from fewtune.providers.refusal import answered
from fewtune.report.evaluation_part import Forgetting, Interval


def forgetting(provider: Provider, encoder: Encoder | None, model: str) -> Forgetting | None:
    """None where the provider cannot score, or the base's context holds no paragraph."""
    if not provider.capabilities.can_score or encoder is None:
        return None
    texts = [text for text in prose() if len(encoder.scored("", text).ids) <= encoder.context]
    if not texts:
        return None
    found = change(_measured(provider, BASE, texts), _measured(provider, model, texts), texts)
    interval = found.interval and Interval(low=found.interval.low, high=found.interval.high)
    return Forgetting(before=found.before, after=found.after, interval=interval, bytes=found.bytes)


def _measured(provider: Provider, model: str, texts: Sequence[str]) -> list[float]:
    """Each paragraph as the answer to an empty prompt, in the base's own frame, without its stop."""
    requests = [Request(id=number, prompt="", score=text) for number, text in enumerate(texts)]
    replies = answered(provider.sample(model, requests))
    scores = {one.id: one.log_likelihoods for one in replies if isinstance(one, Score)}
    return [bits_per_byte(scores[number][:-1], text) for number, text in enumerate(texts)]
