"""Which languages texts are in, cheaply enough for a million of them.

The usual words of the data's own languages are learnt from a sample; a text that has enough of them is in that
language. Only what has few of them is shown to the language model of py3langid, which takes ten times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from py3langid import langid  # pyright: ignore[reportMissingTypeStubs]

_SAMPLE = 500
_LETTERS = 40
_WORDS = 6
_SHARE_OF_LETTERS = 0.7
_DOMINANT = 0.6
_HABIT = 0.05
_USUAL_WORDS = 60
_SHARE_OF_USUAL = 0.15
_LIKELY = 0.5
_CERTAIN = 0.9
_FEWEST = 10
_LOOKED_AT = 400
"""Characters from the start that tell the language."""
_UNSPACED = frozenset(("bo", "ja", "km", "lo", "my", "th", "zh"))
"""They put no spaces between words: characters are counted in their place."""

_ONE_TO_A_READER = (
    ("bs", "hr", "sr"), ("da", "nb", "nn", "no"), ("id", "jv", "ms"), ("an", "es"), ("ca", "oc"), ("gl", "pt"),
    ("cs", "sk"), ("be", "ru"), ("bg", "mk"), ("hi", "mr", "ne"), ("xh", "zu"), ("af", "nl"), ("fa", "ps"),
    ("de", "lb"), ("fr", "wa"), ("it", "la"),
)  # fmt: skip
"""Languages that are taken for each other in short texts: a row in one of them is never odd among another's."""
_GROUP = {code: group for group in _ONE_TO_A_READER for code in group}


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """Languages, as ISO 639-1 codes, of the texts that are long enough to tell."""

    dominant: str | None
    """That of six in ten texts of a sample or more."""
    others: Mapping[int, str]
    """Places of the texts that are, with a certainty of 90 %, in a language other than the dominant one."""
    long: Sequence[int]
    """Places of the texts that are long enough."""


def spoken(texts: Sequence[str]) -> Spoken:
    """The languages of the texts; where few are long enough, none is dominant and none is another."""
    long = [place for place, text in enumerate(texts) if len(text) >= _LETTERS]
    sample = [texts[place] for place in long[:: max(1, len(long) // _SAMPLE)]]
    if len(sample) < _FEWEST:
        return Spoken(dominant=None, others={}, long=())
    codes = [_classified(text, _LIKELY) for text in sample]
    (most, count), *_ = Counter(codes).most_common(1)
    dominant = most if most and count >= _DOMINANT * len(codes) else None
    usual = _usual_words(sample, codes)
    found = ((place, _language(texts[place], usual)) for place in long)
    others = {place: code for place, code in found if code and code != dominant and not same(code, dominant)}
    return Spoken(dominant=dominant, others=others, long=long)


def same(one: str, other: str | None) -> bool:
    """Whether they are one language, or two that short texts do not tell apart."""
    return one == other or other in _GROUP.get(one, ())


def _language(text: str, usual: Mapping[str, frozenset[str]]) -> str | None:
    for code, words in usual.items():
        told = _tokens(text, code in _UNSPACED)
        if sum(map(words.__contains__, told)) >= _SHARE_OF_USUAL * len(told):
            return code
    return _classified(text, _CERTAIN)


def _usual_words(sample: Sequence[str], codes: Sequence[str | None]) -> dict[str, frozenset[str]]:
    """For each language of at least 5 % of the sample the words that it has most often there, in order of its share."""
    usual: dict[str, frozenset[str]] = {}
    for code, count in Counter(codes).most_common():
        if code and count >= max(_FEWEST, _HABIT * len(codes)):
            told = (text for text, of in zip(sample, codes, strict=True) if of == code)
            words = Counter(word for text in told for word in _tokens(text, code in _UNSPACED))
            usual[code] = frozenset(word for word, _ in words.most_common(_USUAL_WORDS))
    return usual


def _tokens(text: str, is_unspaced: bool) -> Sequence[str]:
    return text if is_unspaced else text.lower().split()


def _classified(text: str, least: float) -> str | None:
    """None where the text is hardly prose, or nothing is certain."""
    start = text[:_LOOKED_AT]
    letters = sum(map(str.isalpha, start)) + start.count(" ")
    if letters < _SHARE_OF_LETTERS * len(start):
        return None
    # Names and initials mislead the model less in small letters.
    code, certainty = _classifier()(start.lower())
    if code not in _UNSPACED and start.count(" ") < _WORDS - 1:
        return None
    return code if certainty >= least else None


@lru_cache(maxsize=1)
def _classifier() -> Callable[[str], tuple[str, float]]:
    identifier = cast(Any, langid).LanguageIdentifier
    return identifier.from_model_file(cast(Any, langid).MODEL_FILE, norm_probs=True).classify
