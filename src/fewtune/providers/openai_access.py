"""The way to a service that speaks OpenAI's API: its address, its key, and its refusals in our words."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

import openai

from fewtune.errors import ProviderError

DEFAULT_ADDRESS = "https://api.openai.com/v1"
_RESUME = "run the same command again: it resumes, and no job is made twice."

_RETRIES = 4
"""Some eight seconds: a training is worth more patience than the client's usual two tries."""

_FIXES: tuple[tuple[type[openai.OpenAIError], str], ...] = (
    (openai.AuthenticationError, "Check OPENAI_API_KEY, and OPENAI_BASE_URL if the key is for another service."),
    (
        openai.PermissionDeniedError,
        "This key's account may not do that. Where a service takes no more fine-tuning jobs, use "
        "`--provider local`, or set OPENAI_BASE_URL to another service.",
    ),
    (openai.NotFoundError, "Check the model's name and OPENAI_BASE_URL."),
    (openai.RateLimitError, f"Look at the account's limits and credit, wait, and {_RESUME}"),
    (openai.APIConnectionError, f"Check the network and OPENAI_BASE_URL, and {_RESUME}"),
    (openai.InternalServerError, f"The trouble is the service's: wait, and {_RESUME}"),
    (openai.APIResponseValidationError, "Check that OPENAI_BASE_URL leads to OpenAI's API."),
    (openai.APIStatusError, "The service's words say what it refuses."),
    (openai.OpenAIError, f"Wait, and {_RESUME}"),
)


def check_access() -> None:
    """Raises ProviderError, before anything is read or sent, where the environment cannot lead to a service."""
    key, address = _key(), _address()
    if not key:
        fix = "Set it to the service's key: export OPENAI_API_KEY=..."
        raise ProviderError("OPENAI_API_KEY is not set.", where=_host(address), fix=fix)
    if not (key.isascii() and key.isprintable()):
        fix = "Copy the key again; it is one line of plain letters, digits and signs."
        raise ProviderError("OPENAI_API_KEY holds a character that no key has.", where=_host(address), fix=fix)
    if _host(address) is None:
        fix = f"It should look like {DEFAULT_ADDRESS}."
        raise ProviderError("OPENAI_BASE_URL is not a web address.", fix=fix)


def connect() -> openai.OpenAI:
    """The official client, as the environment says. Raises ProviderError as `check_access` does."""
    check_access()
    return openai.OpenAI(api_key=_key(), base_url=_address(), max_retries=_RETRIES)


def as_provider_error(error: openai.OpenAIError, *, where: str, key: str) -> ProviderError:
    """What the service or the network said, without the key should they have repeated it."""
    what = str(error) or type(error).__name__
    if isinstance(error, openai.APIConnectionError) and error.__cause__ is not None:
        what = f"{what} ({error.__cause__})"
    if isinstance(error, openai.APIStatusError) and error.request_id:
        what = f"{what} (request {error.request_id})"
    fix = next(fix for kind, fix in _FIXES if isinstance(error, kind))
    return ProviderError(what.replace(key, "[the key]"), where=where, fix=fix)


@contextmanager
def translated(client: openai.OpenAI) -> Generator[None]:
    """The original is not chained: it holds the request with its headers, and may repeat the key."""
    try:
        yield
    except openai.OpenAIError as error:
        raise as_provider_error(error, where=client.base_url.host, key=client.api_key) from None
    except json.JSONDecodeError:
        fix = "Check that OPENAI_BASE_URL leads to OpenAI's API."
        raise ProviderError("The answer is not JSON.", where=client.base_url.host, fix=fix) from None


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _address() -> str:
    return os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_ADDRESS


def _host(address: str) -> str | None:
    """None for what is not an http or https address."""
    try:
        parts = urlsplit(address)
        return parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:
        return None
