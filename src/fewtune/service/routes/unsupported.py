"""What OpenAI has and this service has not: said clearly, so that nobody looks for a typing error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter

from fewtune.service.errors import invalid

router = APIRouter(include_in_schema=False)

_FAMILIES = {
    "embeddings": "Models here write text; they make no embeddings.",
    "moderations": "Nothing is moderated here.",
    "images": "Models here write only text.",
    "videos": "Models here write only text.",
    "audio": "Models here read and write only text.",
    "realtime": "Models here read and write only text; answers are streamed by /v1/chat/completions.",
    "batches": "There are no batches: send the requests one by one, as many at once as you like.",
    "assistants": "There are no assistants: use /v1/chat/completions.",
    "threads": "There are no threads: use /v1/chat/completions.",
    "conversations": "Conversations are not kept here: send the turns to /v1/chat/completions.",
    "vector_stores": "There are no vector stores.",
    "containers": "There are no containers.",
    "evals": "There are no evals over HTTP: use the graders of /v1/fine_tuning/alpha, or fewtune evaluate.",
    "edits": "OpenAI has ended edits as well: use /v1/chat/completions.",
    "engines": "OpenAI has ended engines as well: see /v1/models.",
    "fine-tunes": "OpenAI has ended this URL as well: use /v1/fine_tuning/jobs.",
    "organization": "Keys and projects are looked after on the command line: fewtune keys.",
}
"""By the first part of the path after /v1."""
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _refusing(reason: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise invalid(reason, code="unsupported_endpoint")

    return refuse


for _family, _reason in _FAMILIES.items():
    # One by one: a route for all of them would also take what is not allowed on the URLs that there are.
    router.add_api_route(f"/{_family}", _refusing(_reason), methods=_METHODS)
    router.add_api_route(f"/{_family}/{{rest:path}}", _refusing(_reason), methods=_METHODS)
