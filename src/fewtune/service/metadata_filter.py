"""Lists that are asked for by metadata."""

from __future__ import annotations

from fastapi import Request

from fewtune.service.errors import invalid

_FILTER = "metadata["
_MOST_PAIRS = 16


def wanted_metadata(request: Request) -> dict[str, str]:
    """The pairs of `metadata[KEY]=VALUE` in the URL. Raises ServiceError for too many, or too long ones."""
    pairs = {
        name[len(_FILTER) : -1]: value
        for name, value in request.query_params.multi_items()
        if name.startswith(_FILTER) and name.endswith("]")
    }
    if len(pairs) > _MOST_PAIRS or any(len(name) > 64 or len(value) > 512 for name, value in pairs.items()):
        raise invalid(
            f"At most {_MOST_PAIRS} pairs of at most 64 and 512 characters can be asked for.", param="metadata"
        )
    return pairs
