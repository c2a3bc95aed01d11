"""Every answer that is no success: OpenAI's four keys, and whether trying again makes sense.

The client tries 408, 409, 429 and everything from 500 on again by itself. So 409 is never used, and what would come out
the same, or has been done already, says `x-should-retry: false`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fewtune.errors import DataError, FewtuneError, QuotaError, UnfinishedError, UsageError
from fewtune.service.logs import places

log = logging.getLogger("fewtune.service")

_LONGEST_WAIT = 120
"""Seconds of Retry-After beyond which the official client gives up."""
_LONGEST_REASON = 500
"""Characters: a reason may repeat what was sent."""
_LONGEST_PLACE = 200
_QUOTA_SECONDS = 10
_NO_JSON = "We could not parse the JSON body of your request."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS = frozenset({"int", "float", "str", "bool", "none"})
"""Parts of pydantic's places that are types of a union, not names of fields."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


class ServiceError(Exception):
    """An answer that is no success."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})


def invalid(message: str, *, param: str | None = None, code: str | None = "invalid_value") -> ServiceError:
    """400: asking again in the same way is of no use."""
    return ServiceError(400, message, param=param, code=code)


def missing(param: str | None) -> ServiceError:
    """400 for what was not given."""
    named = f"'{param}'" if param else "a JSON body"
    return invalid(f"Missing required parameter: {named}.", param=param, code="missing_required_parameter")


def not_found(kind: str, name: str, *, param: str = "id", code: str | None = None) -> ServiceError:
    """404, also for what another project has. `kind` as in "file"."""
    return ServiceError(404, f"No such {kind}: {shown(name)}", param=param, code=code or "not_found")


def too_large(message: str) -> ServiceError:
    """413. The connection stays: closed while its client is still writing, the client would never read the answer."""
    return ServiceError(413, message, code="request_too_large")


def too_many(message: str, *, seconds: float) -> ServiceError:
    """429, to be tried again after so long."""
    headers = {"retry-after": str(max(1, min(_LONGEST_WAIT, round(seconds + 0.5))))}
    return ServiceError(429, message, type="rate_limit_error", code="rate_limit_exceeded", headers=headers)


def unavailable(message: str, *, seconds: float = 1.0) -> ServiceError:
    """503, to be tried again after so long."""
    headers = {"retry-after": str(max(1, min(_LONGEST_WAIT, round(seconds + 0.5))))}
    return ServiceError(503, message, type="server_error", code="service_unavailable", headers=headers)


def shown(name: str, longest: int = 100) -> str:
    """A name from outside, as it may stand in a message: escaped and shortened."""
    quoted = ascii(name[: longest + 1])[1:-1]
    return quoted if len(quoted) <= longest else f"{quoted[:longest]}…"


def answer_of(error: Exception, *, request_id: str, committed: bool) -> JSONResponse:
    """The answer to any exception. What nobody foresaw is told to the log, without what the request said."""
    found = _known(error)
    if found is None:
        log.error("unforeseen %s [%s]\n%s", type(error).__name__, request_id, "\n".join(places(error)))
        message = f"The server had an error while processing your request. Request id: {request_id}"
        found = ServiceError(500, message, type="server_error", code="internal_error")
    headers = dict(found.headers)
    if committed or found.status == 501:
        headers["x-should-retry"] = "false"
    detail = ErrorDetail(message=found.message, type=found.type, param=found.param, code=found.code)
    return JSONResponse(ErrorAnswer(error=detail).model_dump(), found.status, headers=headers)


def _known(error: Exception) -> ServiceError | None:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error.errors())
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, QuotaError):
        return too_many(_sentence(error), seconds=_QUOTA_SECONDS)
    if isinstance(error, UsageError | DataError):
        return invalid(_sentence(error))
    if isinstance(error, UnfinishedError):
        log.warning("%s", error.what)
        return unavailable("The server cannot keep anything at the moment: its disk is full or its database busy.")
    return None


def _sentence(error: FewtuneError) -> str:
    """Without `where`, which may be a path of the server."""
    return f"{error.what} {error.fix}" if error.fix else error.what


def _of_http(error: HTTPException) -> ServiceError:
    texts = {
        400: (_NO_JSON, "invalid_json"),
        404: ("Unknown request URL. Please check the URL for typos, or see /openapi.json.", "unknown_url"),
        405: ("Not allowed to use this method on this URL.", "method_not_allowed"),
    }
    message, code = texts.get(error.status_code, (str(error.detail), None))
    return ServiceError(error.status_code, message, code=code, headers=error.headers)


def _of_validation(problems: Sequence[Any]) -> ServiceError:
    """The first parameter that cannot be used, in OpenAI's words; of a union each form is told."""
    problem = problems[0]
    param = place_of(problem["loc"])
    kind = str(problem["type"])
    if kind == "json_invalid":
        return invalid(_NO_JSON, code="invalid_json")
    if param is None and kind == "model_attributes_type":
        return invalid("The JSON body of your request must be an object.", code="invalid_type")
    if kind == "missing":
        return missing(param)
    texts = [str(one["msg"]) for one in problems if place_of(one["loc"]) == param]
    text = shown(", or: ".join(one.removeprefix("Value error, ").rstrip(".") for one in texts), _LONGEST_REASON)
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    return invalid(f"Invalid value for '{param}': {text}." if param else f"{text}.", param=param, code=code)


def place_of(place: Sequence[int | str]) -> str | None:
    """The parameter that pydantic speaks of, as OpenAI writes it: `messages[0].content`."""
    parts: list[str] = []
    for part in place[1:]:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif _NAME.fullmatch(part) and part not in _KINDS:
            parts.append(f".{part}")
    return "".join(parts).removeprefix(".")[:_LONGEST_PLACE] or None


def install(app: FastAPI) -> None:
    """Let the app answer every exception in this way."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        state = request.scope["state"]
        return answer_of(error, request_id=state["request_id"], committed=state.get("committed", False))

    for kind in (ServiceError, RequestValidationError, HTTPException, FewtuneError):
        app.add_exception_handler(kind, handle)
