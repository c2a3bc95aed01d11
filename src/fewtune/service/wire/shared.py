"""Pieces that several resources share."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from fewtune.service.errors import ErrorAnswer

T = TypeVar("T")
MOST_ON_A_PAGE = 10_000


class Asked(BaseModel):
    """A body that is taken: what is not known is passed over, as OpenAI does. No number is infinite."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


class Told(BaseModel):
    """A body that is answered."""

    model_config = ConfigDict(frozen=True)


class Listed(Told, Generic[T]):
    """One page of a list; `after` of the next one is the id of the last item."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


def listed(items: list[T], *, has_more: bool = False) -> Listed[T]:
    """The page of these items, which have an `id`."""
    ids = [str(getattr(item, "id", "")) for item in items]
    return Listed(data=items, has_more=has_more, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None)


def _unicode(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half a character (a lone surrogate)") from None
    return text


def _number(value: Any) -> Any:
    if isinstance(value, bool | str | bytes):
        raise ValueError("must be a number")
    return value


Text = Annotated[str, AfterValidator(_unicode)]
Name = Annotated[Text, Field(min_length=1, max_length=255)]
Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number)]
Metadata = Annotated[
    dict[Annotated[Text, Field(min_length=1, max_length=64)], Annotated[Text, Field(max_length=512)]],
    Field(max_length=16),
]

After = Annotated[str | None, Query(max_length=255, description="Id of the last item of the page before.")]
Limit = Annotated[int, Query(ge=0, le=MOST_ON_A_PAGE)]
Order = Annotated[Literal["asc", "desc"], Query()]

ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorAnswer, "description": "Any error."}}
"""How every route describes its errors."""
