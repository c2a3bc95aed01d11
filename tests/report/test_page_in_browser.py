from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewtune.report import html

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


def test_no_page_is_wider_than_a_telephone(opened: Any, any_page: str) -> None:
    assert opened(any_page, NARROW).overflow() == 0


def test_hostile_text_runs_nothing_and_widens_nothing(opened: Any, hostile_page: str) -> None:
    seen = opened(hostile_page, NARROW)
    assert seen.complaints == [] and len(seen.requests) == 1
    assert seen.overflow() == 0


def test_each_chart_is_drawn_once_for_each_width(opened: Any, page: str) -> None:
    for viewport in (NARROW, WIDE):
        charts = opened(page, viewport).page.locator("figure svg:visible")
        assert charts.count() == 6
        assert all(one.bounding_box()["height"] > 100 for one in charts.all())


def test_a_filter_shows_its_rows_alone_and_unfolds_the_rest(opened: Any, labels_page: str) -> None:
    seen = opened(labels_page, WIDE).page
    rows = seen.locator("#predictions tbody tr:visible")
    assert rows.count() == html.SHOWN_PREDICTIONS
    seen.get_by_label("only tuned is right").check()
    assert rows.count() == 6
    seen.get_by_label("all 15").check()
    assert rows.count() == html.SHOWN_PREDICTIONS
