from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.bases.languages import languages


@pytest.mark.parametrize(
    ("head", "codes"),
    [
        ("---\nlanguage: en\n---\n# A base\n", {"en"}),
        ("---\nlicense: mit\nlanguage:\n- en\n- fr\ntags:\n- text\n---\n", {"en", "fr"}),
        ("---\nlanguage: [de, EN]\n---\n", {"de", "en"}),
        ("---\nlanguages:\n  - nl\n---\n", {"nl"}),
    ],
)
def test_the_head_of_the_card_names_the_languages(tmp_path: Path, head: str, codes: set[str]) -> None:
    (tmp_path / "README.md").write_text(head)
    assert languages(str(tmp_path)) == codes


@pytest.mark.parametrize(
    "text", ["", "# A base\nlanguage: en\n", "---\nlicense: mit\n---\nlanguage: en\n", "---\nlanguage: en\n"]
)
def test_a_card_that_does_not_say_leaves_it_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert languages(str(tmp_path)) is None


def test_without_a_card_it_is_unknown(tmp_path: Path) -> None:
    assert languages(str(tmp_path)) is None


def test_the_built_in_base_reads_english() -> None:
    assert languages("pocket") == {"en"}
