from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.finding import Finding
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]
TEXT, LABELS, JSON = "text", "labels", "json"


def test_a_label_in_a_rarer_spelling_is_relabelled(examples: MakeExamples, found: Found) -> None:
    labels = ["card lost", "Card lost", "card lost", "cardlost ", "refund", "refund "]
    finding = found(examples([(f"words of row {row}" * 3, label) for row, label in enumerate(labels)]), LABELS)
    assert (finding["label_variant"].rows, finding["label_variant"].repair) == ((1, 3), "relabel")


def test_a_label_of_one_row_is_shown(examples: MakeExamples, found: Found) -> None:
    rows = examples([(f"words of row {row}" * 3, label) for row, label in enumerate(["a", "a", "A", "b", "TBD"])])
    assert found(rows, LABELS)["single_label"].rows == (3,)
    assert "single_label" not in found(rows, TEXT)


def test_ten_rows_to_one_are_an_imbalance(examples: MakeExamples, found: Found) -> None:
    rows = [(f"{row} words of row {row}", "often" if row < 20 else "seldom") for row in range(22)]
    sentence = found(examples(rows), LABELS)["class_imbalance"].sentence
    assert sentence.startswith("'often' has 20 rows (91 %), 'seldom' only 2;")
    assert "class_imbalance" not in found(examples(rows[1:]), LABELS)
