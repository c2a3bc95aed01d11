"""Names of tuned models, as OpenAI builds them."""

from __future__ import annotations

_TUNED = "ft:"
_TAIL = 8


def tuned_name(model: str, *, organisation: str, suffix: str | None, job: str) -> str:
    """`ft:{base}:{organisation}:{suffix}:{8 characters of the job's id}`; the base is called as it was asked for.

    The same job has the same name each time. Of a model that was tuned before, the name begins with its base.
    """
    return f"{_TUNED}{base_part(model)}:{organisation}:{suffix or ''}:{job[-_TAIL:]}"


def checkpoint_name(tuned: str, step: int) -> str:
    return f"{tuned}:ckpt-step-{step}"


def base_part(model: str) -> str:
    return model.split(":")[1] if model.startswith(_TUNED) else model
