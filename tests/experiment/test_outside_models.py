"""A reference and a judge behind an address, asked with the real client; here a stand-in answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.cost.answers import AnswerRate
from fewtune.errors import BudgetError, ProviderError, UsageError
from fewtune.experiment import asking
from fewtune.experiment.progress import Note, Progress, Training
from fewtune.report.evaluation_part import Judged
from standin.openai_standin import KEY, OUTSIDE_MODEL, Standin

FAKE = {"provider": "fake", "epochs": 1, "learning_rate": 1e-3, "rivals": "base,nearest-answer"}
CHAT = "/chat/completions"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """On this machine, at an address that the environment does not name."""
    found = Standin()
    for purpose in ("JUDGE", "REFERENCE"):
        monkeypatch.setenv(f"FEWTUNE_{purpose}_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield found
    found.close()


def prefers_the_longer(given: dict[str, Any]) -> str:
    shown = json.loads(given["messages"][-1]["content"])
    a, b = len(shown["answer_a"]), len(shown["answer_b"])
    return json.dumps({"verdict": "A" if a > b else "B" if b > a else "tie"})


def judged(run: fewtune.Run) -> tuple[Judged, ...]:
    assert run.summary.evaluation
    return run.summary.evaluation.judged


def notes(seen: list[Progress]) -> list[str]:
    return [event.text for event in seen if isinstance(event, Note)]


def test_the_judge_sees_each_pair_in_both_orders_and_its_verdicts_are_counted(few_rows: Path, service: Standin) -> None:
    service.says = prefers_the_longer
    run = fewtune.run(few_rows, **FAKE, judge=OUTSIDE_MODEL, judge_url=service.url)
    (found,) = judged(run)
    rows = run.summary.predictions
    longer = sum(len(row.answers["tuned"]) > len(row.answers["base"]) for row in rows)
    shorter = sum(len(row.answers["tuned"]) < len(row.answers["base"]) for row in rows)
    assert (found.first, found.second, found.wins, found.losses) == ("tuned", "base", longer, shorter)
    assert found.wins + found.losses + found.ties == len(rows)
    assert (found.unread, found.agreement, found.usd) == (0, 1.0, 0.0)
    asked = service.asked("POST", CHAT)
    assert found.tokens == 12 * len(asked)
    shown = [json.loads(one["messages"][-1]["content"]) for one in asked]
    assert all({**one, "answer_a": one["answer_b"], "answer_b": one["answer_a"]} in shown for one in shown)


def test_what_was_judged_once_is_never_asked_again(few_rows: Path, service: Standin, tmp_path: Path) -> None:
    service.says = prefers_the_longer
    asks = {"judge": OUTSIDE_MODEL, "judge_url": service.url}
    first = fewtune.run(few_rows, **FAKE, **asks)
    count = len(service.requests)
    seen: list[Progress] = []
    rivals = {**FAKE, "rivals": "base"}
    again = fewtune.run(few_rows, **rivals, **asks, watch=seen.append)
    assert judged(again) == judged(first)
    assert len(service.requests) == count
    assert not [event for event in seen if isinstance(event, Training)]
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Prefer the answer that names the bread.")
    fewtune.run(few_rows, **rivals, **asks, judge_rubric=rubric)
    assert len(service.requests) == 2 * count
    told = service.asked("POST", CHAT)[-1]["messages"][0]["content"]
    assert "names the bread" in told


@pytest.mark.parametrize("says", ["I like them both", None, ""])
def test_nonsense_refusals_and_silence_are_counted_as_unread(
    few_rows: Path, service: Standin, says: str | None
) -> None:
    service.says = lambda given: says
    run = fewtune.run(few_rows, **FAKE, judge=OUTSIDE_MODEL, judge_url=service.url)
    (found,) = judged(run)
    assert (found.wins, found.losses, found.agreement) == (0, 0, None)
    assert found.unread + found.ties == len(run.summary.predictions)
    assert found.unread > 0


def test_a_judge_that_is_down_costs_one_warning_and_little_time(
    few_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    seen: list[Progress] = []
    several = {**FAKE, "rivals": "base,few-shot"}
    run = fewtune.run(few_rows, **several, judge=OUTSIDE_MODEL, judge_url=url, watch=seen.append)
    assert [(one.wins, one.losses, one.tokens) for one in judged(run)] == [(0, 0, 0)] * 2
    assert all(one.unread > 0 for one in judged(run))
    (warning,) = notes(seen)
    assert "judge outside at 127.0.0.1" in warning and "goes on without and asks it nothing more" in warning


def test_a_judge_that_fails_now_and_then_loses_only_those_rows(few_rows: Path, service: Standin) -> None:
    service.says = prefers_the_longer
    service.refuse("POST", CHAT, 403, "Not now.", times=1)
    seen: list[Progress] = []
    run = fewtune.run(few_rows, **FAKE, judge=OUTSIDE_MODEL, judge_url=service.url, watch=seen.append)
    (found,) = judged(run)
    assert found.unread == 1
    (warning,) = notes(seen)
    assert "1 question without an answer" in warning and "Not now." in warning


def test_the_reference_answers_with_worked_examples_and_is_no_rival(few_rows: Path, service: Standin) -> None:
    run = fewtune.run(few_rows, **FAKE, reference=OUTSIDE_MODEL, reference_url=service.url, shots=2)
    asked = service.asked("POST", CHAT)
    assert len(asked) == len(run.summary.predictions)
    assert all([turn["role"] for turn in one["messages"]] == ["user", "assistant"] * 2 + ["user"] for one in asked)
    assert all(row.answers["reference"] == row.prompt for row in run.summary.predictions)
    assert "reference" in {system.name for system in run.summary.systems}
    assert "reference" not in run.summary.verdict
    assert run.summary.usd == 0.0


def test_a_parameter_that_a_model_refuses_is_given_by_its_other_name_or_not_at_all(
    few_rows: Path, service: Standin
) -> None:
    service.refused_parameters = {"max_tokens", "temperature"}
    run = fewtune.run(few_rows, **FAKE, reference=OUTSIDE_MODEL, reference_url=service.url)
    assert all("reference" in row.answers for row in run.summary.predictions)
    last = service.asked("POST", CHAT)[-1]
    assert "max_completion_tokens" in last and "temperature" not in last and "seed" in last


def test_a_wrong_key_or_model_leaves_the_reference_out_with_a_warning(
    few_rows: Path, service: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWTUNE_REFERENCE_KEY", "sk-wrong")
    seen: list[Progress] = []
    run = fewtune.run(few_rows, **FAKE, reference=OUTSIDE_MODEL, reference_url=service.url, watch=seen.append)
    assert "reference" not in {system.name for system in run.summary.systems}
    (warning,) = notes(seen)
    assert "Incorrect API key" in warning and "sk-wrong" not in warning


def test_a_model_elsewhere_is_asked_nothing_without_a_budget_a_price_and_a_key(
    few_rows: Path, monkeypatch: pytest.MonkeyPatch, shut_sockets: list[str]
) -> None:
    there = {"judge": "gpt-6-luna", "judge_url": "https://models.example/v1"}
    with pytest.raises(ProviderError, match="FEWTUNE_JUDGE_KEY is not set"):
        fewtune.run(few_rows, **FAKE, **there)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ProviderError, match="FEWTUNE_JUDGE_KEY is not set"):
        fewtune.run(few_rows, **FAKE, **there)
    monkeypatch.setenv("FEWTUNE_JUDGE_KEY", KEY)
    with pytest.raises(BudgetError, match="no budget was given"):
        fewtune.run(few_rows, **FAKE, **there)
    with pytest.raises(BudgetError, match="not in the price table"):
        fewtune.run(few_rows, **FAKE, **{**there, "judge": "unknown"}, budget_usd=1)


def test_questions_that_the_budget_does_not_buy_are_not_asked(
    few_rows: Path, service: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FREE", AnswerRate(read=1e-6, written=1e-6))
    service.says, service.read, service.written = prefers_the_longer, 1000, 500
    seen: list[Progress] = []
    # Four questions may take 0.011 and take 0.006, so that two times four are bought.
    asks = {"judge": OUTSIDE_MODEL, "judge_url": service.url, "budget_usd": 0.0175}
    run = fewtune.run(few_rows, **FAKE, **asks, watch=seen.append)
    (found,) = judged(run)
    assert len(service.asked("POST", CHAT)) == 8
    assert found.usd == run.summary.usd == pytest.approx(0.012)
    assert found.unread > 0
    assert any("does not buy" in note for note in notes(seen))


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[::1", "http://x:99999999"])
def test_an_address_that_is_none_is_refused_before_anything_is_trained(few_rows: Path, url: str) -> None:
    with pytest.raises(UsageError, match="not a web address"):
        fewtune.run(few_rows, **FAKE, judge="x", judge_url=url)


def test_half_of_what_a_judge_needs_is_refused(few_rows: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "rubric.txt").write_text("Be fair.")
    with pytest.raises(UsageError, match="no model"):
        fewtune.run(few_rows, **FAKE, judge_url="http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="none is named"):
        fewtune.run(few_rows, **FAKE, judge_rubric=tmp_path / "rubric.txt")
    with pytest.raises(UsageError, match="is empty"):
        fewtune.run(few_rows, **FAKE, judge="x", judge_rubric=tmp_path / "empty.txt")
    with pytest.raises(UsageError, match="read the rubric"):
        fewtune.run(few_rows, **FAKE, judge="x", judge_rubric=tmp_path / "missing.txt")
