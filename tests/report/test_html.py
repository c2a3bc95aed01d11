from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fewtune.cli.app import app
from fewtune.errors import UnfinishedError, UsageError
from fewtune.report import evaluation_tables, first_screen, html, snippets, words
from fewtune.report.evaluation_part import Forgetting, Interval
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
    # The service's own address stands in commands to copy.
    assert {one for one in addresses if not one.startswith(snippets.SERVER)} <= {"http://www.w3.org/2000/svg"}
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
    assert first_screen.verdict_parts("Nothing can be said.") == ("Nothing can be said.", "", "")
    long = "A first part that is far too long to stand in large letters over a whole page: the reason"
    assert first_screen.verdict_parts(long) == (long, "", "")


def test_what_a_verdict_says_after_its_reason_stands_apart() -> None:
    said = "Tune: on 9 rows its loss is 0.52 lower (95 % interval 0.1 to 0.9). Chosen: 2 epochs. Cost: $0.00."
    assert first_screen.verdict_parts(said) == (
        "Tune",
        "On 9 rows its loss is 0.52 lower (95 % interval 0.1 to 0.9).",
        "Chosen: 2 epochs. Cost: $0.00.",
    )


def test_the_first_screen_leads_on_to_the_answers_and_to_the_model(summary: Summary) -> None:
    head = html.render(summary).split("Was tuning worth it?")[0]
    assert '<a href="#predictions">read the answers</a>, <a href="#use">see how to use the model</a>' in head
    untuned = html.render(replace(summary, chosen=None, predictions=())).split("Was tuning worth it?")[0]
    assert "Next:" not in untuned
    against = replace(summary, verdict="Do not use the tuned model: on 9 rows its loss is 0.1 higher.")
    said = [title for title, _ in first_screen.first_screen(against).next]
    assert said == ["see what does as well or better", "read the answers"]


def test_settings_that_nobody_gave_are_named_in_one_sentence(summary: Summary) -> None:
    told = Outline(html.render(replace(summary, settings={"shots": 3, "trials": None, "seeds": []}))).text
    assert "Settings shots 3 Not given, so that the default holds: trials, seeds. Files" in told
    told = Outline(html.render(replace(summary, settings={"shots": 3}))).text
    assert "Not given" not in told


def test_the_sections_answer_in_the_order_of_the_questions(page: str) -> None:
    sections = [attributes["id"] for tag, attributes in Outline(page).tags if tag == "section"]
    assert sections == ["comparison", "predictions", "sweep", "data", "use", "repeat"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.011, 0.07, "It has forgotten some: "),
        (0.001, 0.07, "It may have forgotten some: "),
        (0.001, 0.002, "It has forgotten nothing that matters: "),
        (-0.001, 0.07, "It has forgotten nothing that could be told from chance: "),
        (-0.02, -0.001, "It has forgotten nothing: "),
    ],
)
def test_only_what_is_surely_more_than_a_hundredth_of_a_bit_counts_as_forgotten(
    low: float, high: float, said: str
) -> None:
    found = Forgetting(before=1.2, after=1.2 + (low + high) / 2, interval=Interval(low=low, high=high), bytes=9)
    assert evaluation_tables.forgetting(found).startswith(said)


def test_a_heading_is_not_broken_at_its_hyphen(evaluated: Summary) -> None:
    told = evaluated.evaluation
    assert told is not None
    renamed = [replace(one, title="Order (ROUGE-L) <b>") if one.name == "exact_match" else one for one in told.metrics]
    page = html.render(replace(evaluated, evaluation=replace(told, metrics=tuple(renamed))))
    assert 'Order (<span style="white-space: nowrap">ROUGE-L</span>) &lt;b&gt;<small>' in page


def test_what_the_evaluation_adds_has_a_section_of_its_own(evaluated_page: str) -> None:
    outline = Outline(evaluated_page)
    assert "more" in [attributes["id"] for tag, attributes in outline.tags if tag == "section"]
    for said in (
        "product question 12 11 90.9",
        "5 answers are none of the labels.",
        "6.1 % apart",
        "“the lamp that I ordered two weeks ago has”",
        "It has forgotten some: 1.204 bits a byte before tuning, 1.251 after",
        "gpt-judge preferred the tuned model on 30 rows, the few-shot prompt on 12 and neither on 15.",
        "ZeroDivisionError: division by zero",
        "address.city 31 0.0 % never given",
        "1 field that no row asks for came from the untuned base: colour.",
    ):
        assert " ".join(said.split()) in outline.text, said
    assert "colour 0" not in outline.text


def test_a_judge_that_could_never_be_read_is_not_said_to_have_preferred_anything(evaluated: Summary) -> None:
    assert evaluated.evaluation
    silent = replace(evaluated.evaluation.judged[0], wins=0, losses=0, ties=0, unread=57, agreement=None)
    said = evaluation_tables.judged(silent)
    assert said.startswith("Between the tuned model and the few-shot prompt gpt-judge gave no verdict")
    assert "on 57 rows" in said and "preferred" not in said and "tokens" in said


def test_a_metric_without_a_better_side_is_shown_and_has_no_verdict(evaluated_page: str) -> None:
    assert "Length neither is better" in Outline(evaluated_page).text


def test_the_top_names_the_hardest_rivals_and_always_the_base(evaluated: Summary) -> None:
    bars = [bar.system.name for bar in first_screen.first_screen(evaluated).bars]
    assert bars == ["tuned", "tf-idf", "few-shot-nearest", "nearest-answer", "base"]


def test_few_shot_is_explained_on_the_first_screen(page: str) -> None:
    head = Outline(page).text.split("Was tuning worth it?")[0]
    assert "the base given 3 examples in its prompt, not trained" in head


def test_a_long_answer_is_folded_between_two_words_and_nothing_is_lost() -> None:
    text = "word " * 400
    head, tail = words.fold(text)
    assert head.endswith("word") and tail.startswith("word")
    assert (head + " " + tail).split() == text.split()
    assert words.fold("short") == ("short", "")
    assert "".join(words.fold("x" * 1000)) == "x" * 1000


def test_one_held_out_row_cannot_be_told(of_one_row: Summary) -> None:
    text = Outline(html.render(of_one_row)).text
    assert "tuned is cannot be told" not in text
    assert "few-shot prompt 2.487" in text and "interval cannot be told" in text and "cannot be told −0.446" in text


def test_hostile_text_is_shown_and_never_obeyed(hostile_page: str) -> None:
    outline, page = Outline(hostile_page), hostile_page
    assert len(scripts(page)) == 3 and not [tag for tag, _ in outline.tags if tag == "img"]
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in outline.text and not set(page) & set("\x1b\x07\u202e\u2028\ud800")
    page.encode("utf-8")


def test_the_embedded_rows_say_what_the_run_says(hostile_page: str, hostile_summary: Summary) -> None:
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', hostile_page, flags=re.DOTALL)
    rows = json.loads(data)["rows"]
    assert [row[1] for row in rows] == [line.prompt for line in hostile_summary.predictions]


def scripts(page: str) -> list[str]:
    return re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL)


def test_the_page_forbids_itself_every_script_but_its_own(labels_page: str) -> None:
    running = re.findall(r"<script>(.*?)</script>", labels_page, flags=re.DOTALL)
    assert len(running) == 2
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in running)
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes}; img-src blob:;" in unescape(
        labels_page
    )


def test_answers_of_a_labelling_task_are_marked_without_the_script(labels_page: str, of_labels: Summary) -> None:
    shown = of_labels.predictions[: html.SHOWN_PREDICTIONS]
    right = sum(text == line.expected for line in shown for text in line.answers.values())
    assert (labels_page.count('class="right"'), labels_page.count('class="wrong"')) == (right, 36 - right)


def test_free_text_has_no_right_or_wrong(page: str) -> None:
    assert 'class="right"' not in page and 'value="wrong"' not in page


def test_the_first_predictions_stand_in_the_page_itself(page: str) -> None:
    assert page.count('class="source"') == html.SHOWN_PREDICTIONS


def test_snippets_need_only_commands_that_there_are() -> None:
    there = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(snippets.COMMANDS) <= there
    assert ("serve" in snippets.COMMANDS) == ("serve" in there)


def test_the_lock_names_versions_that_an_index_has(changed: Callable[..., Summary]) -> None:
    assert snippets.lock(changed(versions={"torch": "2.13.0+cpu"})) == "pip install torch==2.13.0"


def test_the_lock_installs_the_versions_of_the_run(summary: Summary) -> None:
    assert snippets.lock(summary) == "pip install fewtune==0.1.0 torch==2.13.0"


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
        shell = next(one.code for one in snippets.use(run) if one.language == "shell")
        assert shlex.split(shell) == ["fewtune", "generate", run.id, prompt]


def test_a_hosted_model_has_no_peft_snippet(changed: Callable[..., Summary]) -> None:
    hosted = changed(provider="together", files={})
    assert not [one for one in snippets.use(hosted) if "PEFT" in one.title]


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
