"""Logistic regression over words, or over vectors of texts: for labels the honest cheap rivals, by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from fewtune.types import Example

_MOST_ITERATIONS = 1000
_STRENGTH = 100.0
"""Inverse of the regularisation. scikit-learn's own 1 is worse by four points of accuracy on 8 rows a class."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    label: str
    log_likelihoods: Mapping[str, float]
    """Of every label of the training rows."""


def is_installed() -> bool:
    return find_spec("sklearn") is not None


def classify(train: Sequence[Example], prompts: Sequence[str]) -> tuple[Labelled, ...] | None:
    """Learn the labels of the training rows from their prompts' words, and label the given prompts.

    Single words, weighed by TF-IDF with a logarithm of the counts; pairs of words are worse on few rows. None where
    there is nothing to learn: a single label, or prompts without a word.
    """
    labels = [example.completion.strip() for example in train]
    if len(set(labels)) < 2 or not prompts:
        return None
    text: Any = import_module("sklearn.feature_extraction.text")
    words = text.TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\w+")
    try:
        seen = words.fit_transform([example.prompt for example in train])
    except ValueError:
        return None
    return _labelled_by(seen, labels, words.transform(prompts))


def classify_vectors(
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]], train: Sequence[Example], prompts: Sequence[str]
) -> tuple[Labelled, ...] | None:
    """The same over vectors of the prompts, of length 1 each: `embed` gives an array of (texts, width)."""
    labels = [example.completion.strip() for example in train]
    if len(set(labels)) < 2 or not prompts:
        return None
    vectors = embed([*(example.prompt for example in train), *prompts])
    return _labelled_by(vectors[: len(train)], labels, vectors[len(train) :])


def _labelled_by(seen: Any, labels: Sequence[str], asked: Any) -> tuple[Labelled, ...]:
    linear: Any = import_module("sklearn.linear_model")
    with warnings.catch_warnings():
        # It asks whether many labels were meant as numbers, and says where it stopped before it was done.
        warnings.simplefilter("ignore")
        model = linear.LogisticRegression(C=_STRENGTH, max_iter=_MOST_ITERATIONS).fit(seen, labels)
    known = [str(label) for label in model.classes_]
    scores = model.predict_log_proba(asked).tolist()
    return tuple(_labelled(dict(zip(known, row, strict=True))) for row in scores)


def _labelled(scores: Mapping[str, float]) -> Labelled:
    return Labelled(label=max(scores, key=lambda label: scores[label]), log_likelihoods=scores)
