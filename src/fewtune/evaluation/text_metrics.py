"""Metrics of texts: how much an answer says what was expected, in the expected length, without saying it twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

import numpy as np
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from fewtune.evaluation.metric import Column, Floats, Metric, Row, answer_metric, by_row, by_sums, spread

_CHRF = CHRF()
_BLEU = BLEU(effective_order=True)
_ORDERS = 4
_WORD = re.compile(r"\w+")


def chrf(answer: str, expected: str) -> float:
    """Character n-gram F-score, 0 to 100, with sacrebleu's settings (n to 6, beta 2).

    Popović, chrF: character n-gram F-score for automatic MT evaluation, WMT 2015. Whitespace does not count.
    """
    return float(_CHRF.sentence_score(answer, [expected]).score)


def rouge_l(answer: str, expected: str) -> float:
    """F1 of the longest common subsequence of words, 0 to 1.

    Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004, section 3.1, equations 2 to 4 with beta 1:
    F = 2PR / (P + R), P = LCS / words of the answer, R = LCS / words of the expected text. Words are runs of letters
    and digits, case aside, unstemmed.
    """
    said, wanted = words(answer), words(expected)
    common = LCSseq.similarity(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def exact_match(answer: str, expected: str) -> float:
    """1 where the texts are equal but for white space at their ends; case counts."""
    return float(answer.strip() == expected.strip())


def words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _bleu_parts(row: Row) -> Sequence[float] | None:
    """Matching and all n-grams of the answer for n to 4, its length, and that of the nearest reference."""
    if row.answer is None:
        return None
    found: Any = _BLEU.sentence_score(row.answer, list(row.accepted))
    return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def bleu_of_sums(sums: Floats) -> Floats:
    """BLEU, 0 to 100, of summed n-gram counts: Papineni et al., ACL 2002, equations 1 to 3.

    Where no n-gram of an order matches its precision is taken as 1 / (2^k * all of them), k counting such orders:
    "exp" smoothing, Chen and Cherry, WMT 2014, method 3, sacrebleu's default.
    """
    matching, every = sums[:, :_ORDERS], sums[:, _ORDERS : 2 * _ORDERS]
    said, wanted = sums[:, -2], sums[:, -1]
    misses = np.cumsum((matching == 0) & (every > 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(matching > 0, matching, 0.5**misses) / every
        mean = np.exp(np.log(precision).mean(axis=1))
        brevity = np.where(said < wanted, np.exp(1 - wanted / said), 1.0)
        scored = (every > 0).all(axis=1) & (matching.sum(axis=1) > 0)
        return np.where(scored, 100 * brevity * mean, 0.0)


def _lengths(row: Row) -> Sequence[float] | None:
    return None if row.answer is None else [len(words(row.answer)), len(words(row.expected))]


def _quotient(sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[:, 0] / sums[:, 1]


def _distinct(n: int, rows: Sequence[Row]) -> Column:
    """Of each row left out, what is said in no other row is gone."""
    grams = [_grams(row.answer, n) for row in rows if row.answer is not None]
    holders = Counter(gram for found in grams for gram in found)
    total, kinds = sum(found.total() for found in grams), len(holders)
    if not total:
        return Column(values=(None,) * len(rows), own=False)
    without = [_share(kinds - sum(holders[gram] == 1 for gram in found), total - found.total()) for found in grams]
    return spread([row.answer is not None for row in rows], kinds / total, without)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _grams(text: str, n: int) -> Counter[Any]:
    found = words(text)
    return Counter(cast("Sequence[Any]", found if n == 1 else list(pairwise(found))))


def _of_likelihoods(of: Callable[[tuple[float, ...]], float]) -> Callable[[Sequence[Row]], Column]:
    return by_row(lambda row: of(row.log_likelihoods) if row.log_likelihoods else None)


def _of_greedy(of: Callable[[tuple[bool, ...]], float]) -> Callable[[Sequence[Row]], Column]:
    return by_row(lambda row: of(row.greedy) if row.greedy else None)


def _nats_and(size: Callable[[Row], float]) -> Callable[[Row], Sequence[float] | None]:
    """The summed surprise of the expected answer, and its size; None where it is not finite or not known."""

    def count(row: Row) -> Sequence[float] | None:
        nats = -sum(row.log_likelihoods) if row.log_likelihoods else None
        return None if nats is None or not np.isfinite(nats) else [nats, size(row)]

    return count


LIKELIHOODS: tuple[Metric, ...] = (
    Metric(
        name="loss",
        title="Loss",
        unit="nats",
        meaning="How surprised the model is by the right answer, for each token (a word or a piece of one).",
        higher_is_better=False,
        column=_of_likelihoods(lambda found: -sum(found) / len(found)),
    ),
    Metric(
        name="token_accuracy",
        title="Next token right",
        unit="share",
        meaning="How often the model's first choice is the next token of the expected answer: the mean over rows.",
        higher_is_better=True,
        column=_of_greedy(lambda found: sum(found) / len(found)),
    ),
    Metric(
        name="sequence_accuracy",
        title="Every token right",
        unit="share",
        meaning="Share of rows in which the model's first choice is right at every token of the expected answer.",
        higher_is_better=True,
        binary=True,
        column=_of_greedy(lambda found: float(all(found))),
    ),
    Metric(
        name="perplexity",
        title="Perplexity",
        unit="",
        meaning="Among how many equally likely tokens the model hesitates: e to the mean loss of all tokens together.",
        higher_is_better=False,
        logarithmic=True,
        tasks=("text",),
        column=by_sums(_nats_and(lambda row: len(row.log_likelihoods or ())), _quotient),
    ),
    Metric(
        name="bits_per_byte",
        title="Bits per byte",
        unit="bits",
        meaning="What a byte of the expected answers costs the model, whatever its tokens are: bases can be compared.",
        higher_is_better=False,
        tasks=("text",),
        column=by_sums(
            _nats_and(lambda row: len(row.expected.strip().encode("utf-8", "replace"))),
            lambda sums: _quotient(sums) / np.log(2),
        ),
    ),
)
"""Of the expected answer without its stop, which no prompt can teach a base."""

TEXTS: tuple[Metric, ...] = (
    answer_metric(
        "chrf",
        chrf,
        title="Likeness (chrF)",
        unit="points",
        meaning="How much the letters of the answer run like those of the expected one, from 0 to 100.",
        tasks=("text",),
    ),
    answer_metric(
        "rouge_l",
        rouge_l,
        title="Words in order (ROUGE-L)",
        unit="share",
        meaning="How much of the expected words stands in the answer in the same order, and how little else.",
        tasks=("text",),
    ),
    Metric(
        name="bleu",
        title="BLEU",
        unit="points",
        meaning="How many runs of up to four words of all answers stand in the expected ones, from 0 to 100.",
        higher_is_better=True,
        tasks=("text",),
        column=by_sums(_bleu_parts, bleu_of_sums),
    ),
    answer_metric(
        "exact_match",
        exact_match,
        title="Exact answers",
        unit="share",
        meaning="Share of answers that are the expected text, white space at the ends aside.",
        binary=True,
        tasks=("text",),
    ),
    Metric(
        name="length_ratio",
        title="Length",
        unit="",
        meaning="Words of all answers for each expected word: 1 is as long as expected.",
        higher_is_better=None,
        tasks=("text",),
        column=by_sums(_lengths, _quotient),
    ),
    *(
        Metric(
            name=f"distinct_{n}",
            title=f"Distinct {what}",
            unit="share",
            meaning=f"How many of all {what} in the answers are different ones: low where a model repeats itself.",
            higher_is_better=None,
            tasks=("text",),
            column=partial(_distinct, n),
        )
        for n, what in ((1, "words"), (2, "pairs of words"))
    ),
)
