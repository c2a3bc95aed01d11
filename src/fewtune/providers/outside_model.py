"""One model behind an OpenAI-compatible address, asked question by question: a reference, or a judge."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import openai

from fewtune.errors import ProviderError, UsageError
from fewtune.providers.openai_access import DEFAULT_ADDRESS, as_provider_error

_SECONDS = 60.0
"""How long an answer may take."""
_RETRIES = 2
_NO_KEY = "none"
"""Servers on this machine usually want no key, but the client does."""
_BYTES_PER_TOKEN = 3
"""Where a server does not tell its tokens; on the low side, so that they are not counted short."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens"}
"""Some models refuse a parameter, and take it by another name or not at all."""


@dataclass(frozen=True, kw_only=True)
class Said:
    text: str
    """Empty where the model refused, or came to no answer."""
    stop_reason: Literal["stop", "length"]
    prompt_tokens: int
    tokens: int
    seconds: float


class OutsideModel:
    """`name` is the model's at the address; `purpose`, as in `judge`, names the variable that holds its key."""

    def __init__(self, name: str, address: str | None, purpose: str) -> None:
        usual = os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_ADDRESS
        self.name = name
        self.address = (address or usual).strip()
        self.host = _host(self.address, purpose)
        self._key = _key(purpose, self.host, urlsplit(usual).hostname)
        variable = _variable(purpose)
        if not (self._key.isascii() and self._key.isprintable()):
            fix = "Copy the key again; it is one line of plain letters, digits and signs."
            raise ProviderError("The key holds a character that no key has.", where=self.host, fix=fix)
        if not self._key and not self.is_here:
            raise ProviderError(
                f"{variable} is not set.",
                where=self.host,
                fix=f"Set it to the key of {self.host}: export {variable}=...",
            )
        self._client = openai.OpenAI(
            api_key=self._key or _NO_KEY, base_url=self.address, timeout=_SECONDS, max_retries=_RETRIES
        )
        self._refused: set[str] = set()

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, and costs nothing."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] = (),
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Said:
        """Raises ProviderError, without the key in it, for whatever the service or the network refuses."""
        asked: dict[str, Any] = {"model": self.name, "messages": list(messages)}
        asked |= {"tools": list(tools)} if tools else {}
        bounds: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        began = time.monotonic()
        try:
            answer = self._create(asked, bounds)
        except openai.OpenAIError as error:
            # Not chained: the original holds the request with its headers, and may repeat the key.
            raise as_provider_error(error, where=self.host, key=self._key or _NO_KEY) from None
        return self._said(answer, asked, time.monotonic() - began)

    def _create(self, asked: Mapping[str, Any], bounds: Mapping[str, Any]) -> Any:
        while True:
            kept = {name: value for name, value in bounds.items() if name not in self._refused}
            named = {_OTHER_NAMES[name]: bounds[name] for name in self._refused & _OTHER_NAMES.keys()}
            try:
                return cast(Any, self._client.chat.completions).create(**asked, **kept, **named)
            except openai.BadRequestError as error:
                if error.param not in kept:
                    raise
                self._refused.add(error.param)

    def _said(self, answer: Any, asked: Mapping[str, Any], seconds: float) -> Said:
        """The client hands on whatever came as JSON, or a web page as a plain string, so nothing is taken for given."""
        choices = getattr(answer, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            fix = "Check that the address leads to an OpenAI-compatible API; it usually ends in /v1."
            raise ProviderError("The answer is not one of OpenAI's API.", where=self.host, fix=fix)
        text = choices[0].message.content
        text = text if isinstance(text, str) else ""
        usage = getattr(answer, "usage", None)
        read, written = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
        return Said(
            text=text,
            stop_reason="length" if choices[0].finish_reason == "length" else "stop",
            prompt_tokens=_estimated(str(asked["messages"])) if read is None else read,
            tokens=_estimated(text) if written is None else written,
            seconds=seconds,
        )


def _estimated(text: str) -> int:
    return len(text.encode()) // _BYTES_PER_TOKEN + 1


def _variable(purpose: str) -> str:
    return f"FEWTUNE_{purpose.upper()}_KEY"


def _key(purpose: str, host: str, usual_host: str | None) -> str:
    """The key for that purpose; the general one only where it belongs, since it is nobody else's business."""
    own = os.environ.get(_variable(purpose), "").strip()
    return own or (os.environ.get("OPENAI_API_KEY", "").strip() if host == usual_host else "")


def _host(address: str, purpose: str) -> str:
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:
        pass
    raise UsageError(
        f"{address!r} is not a web address.",
        where=f"--{purpose}-url",
        fix=f"It should look like {DEFAULT_ADDRESS} or http://127.0.0.1:8080/v1.",
    )
