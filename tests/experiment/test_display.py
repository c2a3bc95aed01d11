from __future__ import annotations

import datetime
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewtune.cost.estimate import LOCAL, Offer, Range, Tokens
from fewtune.experiment.display import RunList
from fewtune.experiment.estimating import Estimate
from fewtune.experiment.exporting import Export
from fewtune.experiment.preparation import Prepared, prepare_rows
from fewtune.experiment.settings import RunSettings
from fewtune.store.runs import RunRecord

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> & \"'"


def prepared_from(folder: Path, rows: list[tuple[str, str]], name: str = "rows.csv", **options: object) -> Prepared:
    quoted = (",".join('"' + text.replace('"', '""') + '"' for text in row) for row in rows)
    file = folder / name
    file.write_text("\n".join(["prompt,completion", *quoted]), encoding="utf-8")
    return prepare_rows(RunSettings(data=str(file), provider="fake", **options))  # type: ignore[arg-type]


WORDS = ["amber", "bread", "cedar", "delta", "eagle", "flute", "grain", "hotel", "ivory", "jelly", "karma", "lemon"]


@pytest.fixture
def rows() -> list[tuple[str, str]]:
    """Twelve good rows, a repeated one and one without an answer."""
    good = [(f"Say {word}", f"The word was {word}, said {place} times.") for place, word in enumerate(WORDS)]
    return [*good, good[0], ("Say nothing", "")]


@pytest.fixture
def estimate() -> Estimate:
    here = Offer(
        service=LOCAL,
        model=None,
        tokens_billed=Range.exactly(0),
        usd=Range.exactly(0),
        seconds=Range(low=50, high=130),
        likely_seconds=75,
        source="measured on two training steps just now",
        date=None,
        verified=False,
        note="",
    )
    there = replace(
        here,
        service="Elsewhere",
        model="large",
        usd=Range(low=0.002, high=1.5),
        seconds=None,
        likely_seconds=None,
        source="https://example.org/prices?a=1&b=2",
        date=datetime.date(2026, 11, 22),
    )
    return Estimate(
        epochs_total=6,
        epochs_fewest=6,
        tokens=Tokens(train_per_epoch=Range.exactly(13_736), valid=Range.exactly(3_000)),
        offers=(here, there),
    )


def cells(fragment: str) -> list[str]:
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td.*?</td>", fragment)]


def test_prepared_rows_show_findings_repairs_counts_and_parts(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    fragment = prepared_from(tmp_path, rows)._repr_html_()
    assert "14 rows read = 12 kept + 1 dropped (empty completion) + 1 dropped (duplicate row)" in fragment
    found = cells(fragment)
    assert found[found.index("empty completion") + 3] == "1 dropped"
    assert "Line 15." in found[found.index("empty completion") + 2]
    assert found[found.index("few rows") + 1 : found.index("few rows") + 4 : 2] == ["", "none"]
    parts = {name: int(found[found.index(name) + 1]) for name in ("train", "valid", "test")}
    assert sum(parts.values()) == 12


def test_a_refused_repair_is_not_shown_as_made(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    fragment = prepared_from(tmp_path, rows, refused_repairs=("duplicate_row",))._repr_html_()
    found = cells(fragment)
    assert found[found.index("duplicate row") + 3] == "none"
    assert "13 kept + 1 dropped (empty completion)" in fragment


def test_many_rows_of_a_finding_are_named_in_part(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    fragment = prepared_from(tmp_path, [*rows, *((f"Say more {n}", "") for n in range(9))])._repr_html_()
    assert "Lines 15, 16, 17, 18, 19, 20, …." in fragment


def test_hostile_rows_and_names_are_shown_and_never_obeyed(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    labels = [
        (f"{prompt} {HOSTILE}", ("<b>yes</b>", "<B>Yes</B>", "no")[place % 3]) for place, (prompt, _) in enumerate(rows)
    ]
    fragment = prepared_from(tmp_path, labels, name="<img src=x>&.csv")._repr_html_()
    assert "&lt;img src=x&gt;&amp;.csv" in fragment and "&lt;b&gt;yes" in fragment.lower()
    assert not re.search("<script|<img|<b>", fragment, re.IGNORECASE)


def test_the_plain_form_is_one_line_and_holds_no_row(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    shown = repr(prepared_from(tmp_path, rows))
    assert shown.startswith("Prepared('rows.csv': 14 rows read = 12 kept") and "\n" not in shown
    assert "amber" not in shown


def test_an_estimate_shows_every_offer_with_its_source_and_date(estimate: Estimate) -> None:
    fragment = estimate._repr_html_()
    assert cells(fragment) == [
        *(LOCAL, "", "$0", "about 1 min 15 s (50 s to 2 min 10 s)", "", "measured on two training steps just now"),
        *("Elsewhere", "large", "under $0.01 to $1.50", "not told", "2026-11-22 *", "example.org"),
    ]
    assert 'href="https://example.org/prices?a=1&amp;b=2"' in fragment
    assert "13\u202f736 training tokens an epoch, 6 epochs in all" in fragment and "<details" not in fragment


def test_the_plain_form_of_an_estimate_is_one_line(estimate: Estimate) -> None:
    here = "on this machine about 1 min 15 s (50 s to 2 min 10 s)"
    assert repr(estimate) == f"Estimate(6 epochs, {here}, 1 price of services)"
    services = replace(estimate, offers=estimate.offers[1:])
    assert repr(services) == "Estimate(6 epochs, 1 price of services)"


def test_of_many_offers_the_dearer_ones_are_folded(estimate: Estimate) -> None:
    here, there = estimate.offers
    fragment = replace(estimate, offers=(here, *(replace(there, model=f"m{n}") for n in range(9))))._repr_html_()
    shown, folded = fragment.split("<details>")
    assert "m3" in shown and "m4" in folded and "5 more" in folded


def test_hostile_offers_are_shown_and_never_obeyed(estimate: Estimate) -> None:
    here, there = estimate.offers
    hostile = (
        replace(there, service=HOSTILE, model=HOSTILE, source=f'https://x"><img src=y>/{HOSTILE}'),
        replace(there, source="javascript:alert(1)"),
    )
    fragment = replace(estimate, offers=(here, *hostile))._repr_html_()
    assert "<script" not in fragment and "<img" not in fragment and 'href="javascript' not in fragment


def record(**changes: object) -> RunRecord:
    values: dict[str, Any] = {
        "id": "orders-1a2b", "created_at": "2026-11-26T20:00:00+00:00", "state": "failed", "folder": "/x",
        "data_path": "/d", "data_sha256": "", "settings": {"base": "pocket"}, "summary": None, "error": HOSTILE,
        **changes,
    }  # fmt: skip
    return RunRecord(**values)


def test_runs_are_a_table_and_each_one_line() -> None:
    finished = record(id="other", state="finished", error=None, summary={"verdict": "Use it.", "predictions": ["long"]})
    fragment = RunList([record(), finished])._repr_html_()
    assert cells(fragment)[:3] == ["orders-1a2b", "failed", "2026-11-26 20:00"] and cells(fragment)[-1] == "Use it."
    assert "<script" not in fragment and "predictions" not in repr(finished) and "pocket" not in repr(finished)
    assert RunList()._repr_html_() == "<p>No runs yet.</p>"


def test_an_export_shows_where_it_is_and_on_how_many_rows_it_was_checked(tmp_path: Path) -> None:
    done = Export(
        format="gguf", folder=tmp_path / "<b>", files=("m.gguf", "Modelfile"), rows=1, tokens=9, effect=0.1, drifts=()
    )
    fragment = done._repr_html_()
    assert cells(fragment)[1::2] == ["gguf", f"{tmp_path}/&lt;b&gt;", "m.gguf, Modelfile", "1 held-out row"]
