from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewtune.report import html, prediction_files, runs_page
from fewtune.report.predictions import predictions
from fewtune.report.runs_comparison import compare_runs
from fewtune.report.summary import Summary

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed.")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="No Chromium on this machine.")

NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


class Opened:
    """A page from disk in a browser without a network, and all that it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, viewport: dict[str, int]) -> None:
        self.context = browser.new_context(viewport=viewport, offline=True)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def overflow(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def open_page(content: str, viewport: dict[str, int]) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(content, encoding="utf-8")
        contexts.append(Opened(browser, path, viewport))
        return contexts[-1]

    yield open_page
    for one in contexts:
        one.context.close()


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
def test_the_page_opens_from_disk_without_a_complaint_or_a_request(
    opened: Any, page: str, viewport: dict[str, int]
) -> None:
    seen = opened(page, viewport)
    assert seen.complaints == []
    assert len(seen.requests) == 1 and seen.requests[0].startswith("file://")


def test_the_verdict_is_seen_without_scrolling_on_a_telephone(opened: Any, page: str) -> None:
    box = opened(page, NARROW).page.locator("h1").bounding_box()
    assert box and box["y"] >= 0 and box["y"] + box["height"] <= 844
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_what_it_cost_and_what_to_do_next_are_seen_without_scrolling_on_a_telephone(opened: Any, page: str) -> None:
    seen = opened(page, NARROW).page
    for place in (".figures", ".next"):
        box = seen.locator(place).bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 844, place


def test_no_page_is_wider_than_a_telephone(opened: Any, any_page: str) -> None:
    assert opened(any_page, NARROW).overflow() == 0


def test_hostile_text_runs_nothing_and_widens_nothing(opened: Any, hostile_page: str) -> None:
    seen = opened(hostile_page, NARROW)
    assert seen.complaints == [] and len(seen.requests) == 1
    assert seen.overflow() == 0


def test_each_chart_is_drawn_once_for_each_width(opened: Any, page: str) -> None:
    for viewport in (NARROW, WIDE):
        charts = opened(page, viewport).page.locator("figure svg:visible")
        assert charts.count() == 7
        assert all(one.bounding_box()["height"] > 100 for one in charts.all())


def test_every_step_is_shown_in_place_of_the_mean_when_it_is_asked_for(opened: Any, page: str) -> None:
    seen = opened(page, WIDE).page
    smoothed, raw = seen.locator(".wide.smoothed"), seen.locator(".wide.raw")
    assert smoothed.is_visible() and raw.is_hidden()
    seen.get_by_label("every step").check()
    assert raw.is_visible() and smoothed.is_hidden()


class Table:
    """The table of predictions as a reader uses it."""

    def __init__(self, seen: Opened) -> None:
        self.page = seen.page
        self.rows = self.page.locator("#prediction-table tbody tr")

    def choose(self, name: str, value: str) -> None:
        self.page.locator(f"select[name={name}]").select_option(value)

    def count(self) -> str:
        return self.page.locator("#prediction-count").inner_text()

    def sources(self) -> list[str]:
        return self.page.locator("#prediction-table .source").all_inner_texts()

    def saved(self, button: str) -> bytes:
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button, exact=True).click()
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def table(opened: Any, evaluated_page: str) -> Table:
    """60 rows of which, by 12, the tuned model answers 10 right and the few-shot prompt the first 4."""
    return Table(opened(evaluated_page, WIDE))


@pytest.mark.parametrize(
    ("kind", "rows"), [("all", 60), ("better", 30), ("worse", 0), ("different", 30), ("right", 50), ("wrong", 10)]
)
def test_a_filter_counts_its_rows_and_shows_them_alone(table: Table, kind: str, rows: int) -> None:
    assert f"({rows})" in table.page.locator(f"select[name=kind] option[value={kind}]").inner_text()
    table.choose("kind", kind)
    assert table.rows.count() == min(rows, 10)
    assert table.count().startswith("60 rows" if rows == 60 else f"{rows} of 60 rows" if rows else "No row")


def test_a_filter_is_about_the_systems_that_the_reader_names(table: Table) -> None:
    table.choose("subject", "base")
    table.choose("kind", "invalid")
    assert table.count() == "5 of 60 rows" and table.sources()[0] == "tickets.csv:13"
    table.choose("kind", "worse")
    table.choose("rival", "majority")
    assert table.count() == "5 of 60 rows"


def test_the_reader_chooses_the_columns(table: Table) -> None:
    heads = table.page.locator("#prediction-table th")
    assert heads.all_inner_texts() == ["Prompt", "Expected", "untuned base", "few-shot prompt", "tuned model"]
    table.page.get_by_role("checkbox", name="TF-IDF classifier").check()
    table.page.get_by_role("checkbox", name="untuned base").uncheck()
    assert heads.all_inner_texts() == ["Prompt", "Expected", "few-shot prompt", "tuned model", "TF-IDF classifier"]


def test_a_search_looks_into_prompts_and_answers(table: Table) -> None:
    table.page.get_by_label("Search").fill("TICKET 4: ")
    playwright.expect(table.rows).to_have_count(1)
    assert table.sources() == ["tickets.csv:6"]
    table.page.get_by_label("Search").fill("delivery again")
    playwright.expect(table.page.locator("#prediction-table .source")).to_have_text(["tickets.csv:2"])
    table.page.get_by_label("Search").fill("<b>nowhere</b>")
    playwright.expect(table.rows).to_have_count(0)
    assert table.count() == "No row is like that."


def test_rows_are_ordered_by_any_metric_of_any_system(table: Table) -> None:
    table.choose("order", "1")
    assert table.sources()[:3] == ["tickets.csv:2", "tickets.csv:9", "tickets.csv:16"]
    table.choose("direction", "down")
    assert table.sources()[:2] == ["tickets.csv:8", "tickets.csv:15"]
    table.choose("ordered", "tf-idf")
    assert table.sources()[0] == "tickets.csv:2"


def test_pages_are_turned_to_the_last_one_and_back(table: Table) -> None:
    back, on = (table.page.get_by_role("button", name=name) for name in ("previous", "next"))
    assert back.is_disabled()
    for _ in range(5):
        on.click()
    assert on.is_disabled() and table.sources()[-1] == "tickets.csv:61"
    assert table.count() == "60 rows, 51 to 60 shown"
    back.click()
    assert table.sources()[0] == "tickets.csv:42"
    table.choose("kind", "wrong")
    assert table.page.locator("#prediction-pager").is_hidden()


def test_the_keyboard_keeps_its_place_where_pages_end(table: Table) -> None:
    back, on = (table.page.get_by_role("button", name=name) for name in ("previous", "next"))
    on.focus()
    for _ in range(5):
        table.page.keyboard.press("Enter")
    assert table.count() == "60 rows, 51 to 60 shown"
    playwright.expect(back).to_be_focused()
    for _ in range(5):
        table.page.keyboard.press("Enter")
    assert table.count() == "60 rows, 1 to 10 shown"
    playwright.expect(on).to_be_focused()


def test_the_files_of_the_page_are_those_of_the_command(table: Table, evaluated: Summary) -> None:
    found = predictions(evaluated)
    assert table.saved("CSV").decode() == prediction_files.to_csv(found)
    assert table.saved("JSON lines").decode() == prediction_files.to_json_lines(found)


def test_only_the_rows_that_are_found_are_saved(table: Table, evaluated: Summary) -> None:
    table.choose("kind", "wrong")
    assert table.saved("JSON lines").decode().count("\n") == 10


def test_hostile_rows_are_saved_as_the_command_saves_them(
    opened: Any, hostile_page: str, hostile_summary: Summary
) -> None:
    seen, found = Table(opened(hostile_page, WIDE)), predictions(hostile_summary)
    assert seen.saved("CSV").decode() == prediction_files.to_csv(found)
    assert seen.saved("JSON lines").decode() == prediction_files.to_json_lines(found)


def test_hostile_rows_are_shown_as_text_and_without_what_misleads(opened: Any, hostile_page: str) -> None:
    seen = Table(opened(hostile_page, WIDE))
    seen.page.get_by_label("mark words").check()
    seen.page.locator("#prediction-table .raw summary").first.click()
    shown = seen.page.locator("#prediction-table").inner_text()
    assert "<script>alert(1)</script>" in shown and not set(shown) & set("\x1b\x07\u202e\ud800")
    assert seen.page.locator("#prediction-table script, #prediction-table img").count() == 0


def test_words_that_differ_are_marked_when_it_is_asked_for(opened: Any, page: str) -> None:
    seen = Table(opened(page, WIDE))
    assert seen.page.locator("#prediction-table ins, #prediction-table del").count() == 0
    seen.page.get_by_label("mark words").check()
    cell = seen.rows.nth(1).locator("td.tuned > div")
    assert cell.locator("del").count() > 0 and cell.locator("ins").count() > 0
    kept = cell.evaluate("c => [...c.childNodes].filter(n => n.nodeName !== 'DEL').map(n => n.textContent).join('')")
    assert kept.startswith("The sea goes down a foot an hour") and kept.endswith("something counts back.")


def test_what_is_known_of_an_answer_is_shown_on_demand(table: Table) -> None:
    cell = table.rows.first.locator("td.tuned")
    assert cell.locator("li").all_inner_texts() == ["delivery", "delivery again"]
    assert cell.locator("dl").is_hidden()
    cell.locator(".raw summary").click()
    said = " ".join(cell.locator("dl").inner_text().split())
    assert said == "Exact 100 % Loss 0.25 tokens 3 seconds 0.0625 seed 0 ended by stop"
    assert cell.locator("pre").all_inner_texts() == ['"delivery"', '"delivery again"']
    assert "or shipping" not in table.rows.nth(1).inner_text()
    assert table.rows.first.locator(".or").inner_text() == "shipping"


@pytest.mark.parametrize("kind", ["SVG", "PNG"])
def test_a_chart_is_saved_with_one_click(opened: Any, page: str, kind: str) -> None:
    seen = opened(page, WIDE)
    with seen.page.expect_download() as download:
        seen.page.locator("figure[data-name=curves]").get_by_role("button", name=kind).click()
    content = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == f"curves.{kind.lower()}"
    assert content.startswith(b"\x89PNG") if kind == "PNG" else b"<svg" in content and b"var(" not in content
    assert seen.complaints == []


def test_without_scripts_the_first_rows_stand_there(browser: Any, page: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    seen = context.new_page()
    seen.goto((tmp_path / "report.html").as_uri())
    assert seen.locator("#prediction-table tbody tr").count() == html.SHOWN_PREDICTIONS
    assert seen.locator("#prediction-tools").is_hidden() and seen.locator("#prediction-rest").is_visible()
    context.close()


def test_a_print_has_no_controls_and_every_section(opened: Any, evaluated_page: str) -> None:
    seen = opened(evaluated_page, WIDE).page
    seen.emulate_media(media="print")
    for hidden in ("nav", "#prediction-tools", "#prediction-pager", ".save", ".copy"):
        assert seen.locator(hidden).first.is_hidden(), hidden
    for section in ("comparison", "predictions", "more", "sweep", "data", "use", "repeat"):
        assert seen.locator(f"#{section} h2").is_visible()


def test_no_table_is_cut_off_on_paper(opened: Any, page: str) -> None:
    paper = {"width": 718, "height": 1000}
    seen = opened(page, paper).page
    seen.emulate_media(media="print")
    wide = "elements => elements.map(one => one.getBoundingClientRect()).map(box => [box.width, box.right])"
    tables = seen.locator("#comparison .pairs table").evaluate_all(wide)
    heads = seen.locator("#comparison .pairs tbody th").evaluate_all(wide)
    assert tables and all(right <= paper["width"] for _, right in tables)
    assert all(width > 120 for width, _ in heads)


def test_many_runs_fit_on_a_telephone_and_their_rows_can_be_filtered(
    opened: Any, summary: Summary, evaluated: Summary
) -> None:
    pair = (evaluated, replace(evaluated, id="tickets-again", seed=18))
    seen = opened(runs_page.render(compare_runs(pair), pair), NARROW)
    assert seen.complaints == [] and seen.overflow() == 0
    table = Table(seen)
    table.choose("kind", "different")
    assert table.count() == "No row is like that."
