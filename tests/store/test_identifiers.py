from __future__ import annotations

import re

import pytest

from fewtune.store.identifiers import Kind, is_id, new_id

SPELT: dict[Kind, str] = {
    "file": r"file-[A-Za-z0-9]{24}",
    "upload": r"upload_[A-Za-z0-9]{24}",
    "part": r"part_[A-Za-z0-9]{24}",
    "ftjob": r"ftjob-[A-Za-z0-9]{24}",
    "ftevent": r"ftevent-[A-Za-z0-9]{24}",
    "ftckpt": r"ftckpt_[A-Za-z0-9]{24}",
    "cp": r"cp_[A-Za-z0-9]{24}",
}


@pytest.mark.parametrize(("kind", "pattern"), SPELT.items())
def test_an_id_is_spelt_as_openai_spells_it_and_is_known_as_its_kind_alone(kind: Kind, pattern: str) -> None:
    made = {new_id(kind) for _ in range(100)}
    assert len(made) == 100
    for one in made:
        assert re.fullmatch(pattern, one)
        assert [other for other in SPELT if is_id(other, one)] == [kind]


GOOD = "file-" + "a1B2" * 6


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD + "\n",
        " " + GOOD,
        GOOD[:-1],
        GOOD + "a",
        "../" + GOOD,
        GOOD[:-1] + "/",
        GOOD[:-1] + "é",
        GOOD[:-1] + "٣",
    ],
)
def test_what_differs_by_one_sign_is_no_id(text: str) -> None:
    assert is_id("file", GOOD)
    assert not is_id("file", text)
