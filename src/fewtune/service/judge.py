"""The model that graders of the type `score_model` ask; its address is the server's, never a request's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx

_SECONDS = 60.0
_MOST_TOKENS = 16
_MOST_BYTES = 2**20


class JudgeFailed(Exception):
    """The judge gave no answer that can be read."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """An OpenAI-compatible address and its key."""

    url: str
    key: str | None

    @classmethod
    def from_environment(cls) -> Judge | None:
        """FEWTUNE_JUDGE_URL and FEWTUNE_JUDGE_KEY; None where no address is set."""
        url = os.environ.get("FEWTUNE_JUDGE_URL")
        return cls(url=url.rstrip("/"), key=os.environ.get("FEWTUNE_JUDGE_KEY")) if url else None

    def ask(self, model: str, messages: Sequence[Mapping[str, str]]) -> tuple[str, int]:
        """What the judge says, and the tokens it took. Redirects are not followed. Raises JudgeFailed."""
        body = {"model": model, "messages": list(messages), "max_tokens": _MOST_TOKENS, "temperature": 0}
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
                answer = client.post(f"{self.url}/chat/completions", json=body, headers=headers)
            if answer.status_code != 200 or len(answer.content) > _MOST_BYTES:
                raise JudgeFailed(f"The judge answered with the status {answer.status_code}.")
            return _read(answer.json())
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise JudgeFailed(f"The judge could not be asked: {type(error).__name__}.") from error


def _read(answer: Any) -> tuple[str, int]:
    said = answer["choices"][0]["message"]["content"]
    if not isinstance(said, str):
        raise ValueError("no text")
    usage: Any = answer.get("usage")
    tokens: Any = cast(dict[str, Any], usage).get("total_tokens") if isinstance(usage, dict) else None
    return said, tokens if isinstance(tokens, int) else 0
