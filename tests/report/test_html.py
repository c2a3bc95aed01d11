from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import shlex
import stat
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fewtune.errors import UnfinishedError, UsageError
from fewtune.report import html
from fewtune.report.summary import Summary

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Outline(HTMLParser):
    """Checks that every tag is closed in order, and collects what a test asks about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_every_page_is_well_formed_and_has_each_id_once(any_page: str) -> None:
    outline = Outline(any_page)
    ids = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_no_page_loads_anything(any_page: str) -> None:
    addresses = set(re.findall(r"https?://[^\"'\s<]+", any_page))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    for tag, attributes in Outline(any_page).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert not {"src", "srcset", "action", "poster"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in any_page and "@import" not in any_page


def test_no_page_shows_a_none_or_a_width_of_zero(any_page: str) -> None:
    text = Outline(any_page).text
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b|±", text)


def test_the_verdict_comes_first(page: str, summary: Summary) -> None:
    text = Outline(page).text
    assert "Use the tuned model On 19 held-out rows its loss is 0.45 lower" in text
    assert text.index("Use the tuned model") < text.index("6 min 53 s") < text.index("Was tuning worth it?")


def test_a_verdict_without_a_reason_is_shown_whole() -> None:
    assert html.verdict_parts("Nothing can be said.") == ("Nothing can be said.", "")
    long = "A first part that is far too long to stand in large letters over a whole page: the reason"
    assert html.verdict_parts(long) == (long, "")


def test_the_sections_answer_in_the_order_of_the_questions(page: str) -> None:
    sections = [attributes["id"] for tag, attributes in Outline(page).tags if tag == "section"]
    assert sections == ["comparison", "predictions", "sweep", "data", "use", "repeat"]


def test_few_shot_is_explained_on_the_first_screen(page: str) -> None:
    head = Outline(page).text.split("Was tuning worth it?")[0]
    assert "the base given 3 examples in its prompt, not trained" in head


def test_the_first_predictions_are_shown_and_the_rest_is_folded(page: str, summary: Summary) -> None:
    before, after = page.split('<details class="rest">')
    assert before.count('class="source"') == html.SHOWN_PREDICTIONS
    assert after.count('class="source"') == len(summary.predictions) - html.SHOWN_PREDICTIONS


def test_one_held_out_row_cannot_be_told(of_one_row: Summary) -> None:
    text = Outline(html.render(of_one_row)).text
    assert "tuned against few-shot: cannot be told" in text and "interval cannot be told" in text


def test_hostile_text_is_shown_and_never_obeyed(hostile_page: str) -> None:
    outline, page = Outline(hostile_page), hostile_page
    assert not [tag for tag, _ in outline.tags if tag in {"script", "img"}]
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in outline.text and "\x1b" not in page and "\u202e" not in page and "\x07" not in page
    page.encode("utf-8")


def test_the_page_forbids_itself_every_script_but_its_own(labels_page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", labels_page, flags=re.DOTALL)
    assert len(scripts) == 1
    allowed = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'" in labels_page


def test_answers_of_a_labelling_task_are_marked_and_can_be_filtered(labels_page: str) -> None:
    text = Outline(labels_page).text
    assert (
        "only tuned is right (6)" in text
        and "tuned is wrong, another is right (3)" in text
        and "tuned is wrong (6)" in text
    )
    assert labels_page.count('class="is-fixed') == 6 and labels_page.count('class="is-broken') == 3


def test_free_text_has_no_right_or_wrong(page: str) -> None:
    assert 'class="right"' not in page and "is-fixed" not in page.split("</style>")[1]


def test_a_long_answer_is_folded_between_two_words_and_nothing_is_lost() -> None:
    text = "word " * 400
    head, tail = html.fold(text)
    assert head.endswith("word") and tail.startswith("word")
    assert (head + " " + tail).split() == text.split()
    assert html.fold("short") == ("short", "")
    assert "".join(html.fold("x" * 1000)) == "x" * 1000


def test_a_failed_trial_says_why(summary: Summary, bare: Summary) -> None:
    failed = replace(summary.trials[0], state="failed", failure="The loss became infinite.", valid_loss=None)
    text = Outline(html.render(replace(bare, trials=(failed,)))).text
    assert "The loss became infinite." in text


def test_three_hundred_predictions_stay_under_three_megabytes(summary: Summary, page: str, bare: Summary) -> None:
    line = summary.predictions[0]
    long = replace(line, expected=line.expected * 4, answers={name: text * 4 for name, text in line.answers.items()})
    assert len(page.encode()) + len(html.render(replace(bare, predictions=(long,) * 300)).encode()) < 3_000_000


def test_a_shell_can_read_the_shown_command_whatever_the_prompt_is(summary: Summary) -> None:
    for prompt in ("It's $HOME `here`", "plain", "the Lamplighter's debt", '"quoted" it\'s'):
        run = replace(summary, predictions=(replace(summary.predictions[0], prompt=prompt),))
        shell = next(code for _, language, code in html.snippets(run) if language == "shell")
        assert shlex.split(shell) == ["fewtune", "generate", run.id, prompt]


def test_a_hosted_model_has_no_peft_snippet(changed: Callable[..., Summary]) -> None:
    hosted = changed(provider="together", files={})
    assert not [title for title, _, _ in html.snippets(hosted) if "PEFT" in title]


def test_the_same_run_gives_the_same_page(summary: Summary, page: str) -> None:
    assert html.render(summary) == page


def test_the_page_is_written_whole_and_readable(bare: Summary, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("an older report")
    html.write(bare, path)
    assert path.read_text(encoding="utf-8") == html.render(bare)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_report_and_says_so(
    bare: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("an older report")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnfinishedError, match="disk is full"):
        html.write(bare, path)
    assert path.read_text() == "an older report"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_usage_error_that_names_it(bare: Summary, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        html.write(bare, tmp_path / "nowhere" / "report.html")
