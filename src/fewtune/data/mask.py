"""What is trained and what is not, token by token, for a reader who wants to be sure before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from fewtune.data.encode import Encoded, Encoder
from fewtune.errors import DataError
from fewtune.types import Example, Source


@dataclass(frozen=True, kw_only=True)
class MaskPiece:
    """Neighbouring tokens that are alike."""

    text: str
    trained: bool
    is_stop: bool
    """One token, after which an answer ends; trained."""


@dataclass(frozen=True, kw_only=True)
class MaskRow:
    """One example; the texts of its pieces together are the text of its tokens."""

    row: int
    source: Source
    pieces: tuple[MaskPiece, ...]
    tokens: int
    trained_tokens: int
    left_out: int
    """Turns that should be trained and are not, since the base's template rewrites them once others follow."""


@dataclass(frozen=True, kw_only=True)
class Mask:
    """The first examples in full, and all of them counted."""

    recipe: str
    rows: tuple[MaskRow, ...]
    stops: tuple[str, ...]
    """Names of the tokens that end the trained answers, the most frequent first."""
    tokens: int
    """Of all rows that fit."""
    trained_tokens: int
    too_long: tuple[int, ...]
    """Rows with more tokens than the base reads."""
    untrained: tuple[int, ...]
    """Rows with no trained token: an error, since they teach nothing."""
    left_out: int
    """Turns of all rows that fit which are not trained since the base's template rewrites them."""


def mask(encoder: Encoder, examples: Sequence[Example], most: int = 4) -> Mask:
    """Encode the examples as they would be trained, and show the first of those that fit."""
    too_long, untrained, fitting = list[int](), list[int](), list[tuple[Example, Encoded]]()
    for example in examples:
        try:
            encoded = encoder.fit(example)
        except DataError:
            if any(message.trained for message in example.messages or ()):
                raise
            untrained.append(example.row)
            continue
        if encoded is None:
            too_long.append(example.row)
        else:
            fitting.append((example, encoded))
    stops = [stop for _, encoded in fitting for stop in _stops(encoder, encoded).values()]
    return Mask(
        recipe=encoder.recipe,
        rows=tuple(_row(encoder, *pair) for pair in fitting[:most]),
        stops=tuple(sorted(set(stops), key=lambda stop: (-stops.count(stop), stop))),
        tokens=sum(len(encoded.ids) for _, encoded in fitting),
        trained_tokens=sum(encoded.trained_tokens for _, encoded in fitting),
        too_long=tuple(too_long),
        untrained=tuple(untrained),
        left_out=sum(encoded.left_out for _, encoded in fitting),
    )


def _row(encoder: Encoder, example: Example, encoded: Encoded) -> MaskRow:
    return MaskRow(
        row=example.row,
        source=example.source,
        pieces=tuple(_pieces(encoder, encoded)),
        tokens=len(encoded.ids),
        trained_tokens=encoded.trained_tokens,
        left_out=encoded.left_out,
    )


def _stops(encoder: Encoder, encoded: Encoded) -> dict[int, str]:
    """The places of the tokens that end a trained stretch and an answer, with the tokens' names."""
    ends = [begin for begin, _ in encoded.gaps] + [len(encoded.ids)]
    return {
        end - 1: encoder.tokenizer.id_to_token(encoded.ids[end - 1]) or ""
        for end in ends
        if encoded.ids[end - 1] in encoder.stop_ids
    }


def _pieces(encoder: Encoder, encoded: Encoded) -> Iterator[MaskPiece]:
    stops, trained = _stops(encoder, encoded), encoded.trained
    whole = _decoded(encoder.tokenizer, encoded.ids)
    begin, written = 0, ""
    for place in range(len(encoded.ids)):
        last = place + 1 == len(encoded.ids)
        if not last and trained[place] == trained[place + 1] and not stops.keys() & {place, place + 1}:
            continue
        text = _decoded(encoder.tokenizer, encoded.ids[: place + 1])
        if not (last or whole.startswith(text)):
            # The rest of a character is in the tokens that follow.
            continue
        yield MaskPiece(text=text[len(written) :], trained=trained[begin], is_stop=place in stops)
        begin, written = place + 1, text


def _decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False)
    return text
