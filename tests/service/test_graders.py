"""Graders over HTTP, and the formulas and texts within them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fewtune.service.filling import FilledTooLong, UnknownVariable, filled
from fewtune.service.formula import FormulaError, check_formula, value_of
from service.web import Answer, Web

RUN, VALIDATE = "/v1/fine_tuning/alpha/graders/run", "/v1/fine_tuning/alpha/graders/validate"
SAMPLE = "{{ sample.output_text }}"


def _check(operation: str, reference: str = "Yes", text: str = SAMPLE) -> dict[str, Any]:
    return {"type": "string_check", "name": "c", "input": text, "reference": reference, "operation": operation}


def _likeness(metric: str, reference: str) -> dict[str, Any]:
    return {
        "type": "text_similarity",
        "name": "s",
        "input": SAMPLE,
        "reference": reference,
        "evaluation_metric": metric,
    }


def _multi(formula: str, **graders: dict[str, Any]) -> dict[str, Any]:
    return {"type": "multi", "name": "m", "graders": graders, "calculate_output": formula}


def _run(web: Web, grader: dict[str, Any], sample: str = "Yes, of course", **item: Any) -> Answer:
    return web.ask("POST", RUN, {"grader": grader, "model_sample": sample, "item": item})


@pytest.mark.parametrize(
    ("operation", "reference", "reward"),
    [
        ("eq", "Yes, of course", 1),
        ("eq", "yes, of course", 0),
        ("ne", "No", 1),
        ("like", "of course", 1),
        ("like", "OF COURSE", 0),
        ("ilike", "OF COURSE", 1),
    ],
)
def test_a_string_check_is_one_or_zero(web: Web, operation: str, reference: str, reward: int) -> None:
    told = _run(web, _check(operation, reference)).json
    assert told["reward"] == reward
    assert not any(told["metadata"]["errors"].values())
    assert told["metadata"]["scores"] == {"c": reward}


@pytest.mark.parametrize(
    "metric", ["fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"]
)
def test_equal_texts_are_alike_and_others_are_not(web: Web, metric: str) -> None:
    sample = "the quick brown fox jumps over it"
    assert _run(web, _likeness(metric, sample), sample).json["reward"] == pytest.approx(1)
    near = _run(web, _likeness(metric, sample), "the quick brown fox jumps over us all").json["reward"]
    assert 0 < near < 1
    assert _run(web, _likeness(metric, "12345"), "ζζζ").json["reward"] == pytest.approx(0)


def test_gleu_is_the_smaller_of_precision_and_recall(web: Web) -> None:
    # Runs of "a b": a, b, "a b". Of "a b c": 6. Three are common.
    assert _run(web, _likeness("gleu", "a b c"), "a b").json["reward"] == pytest.approx(3 / 6)


def test_a_formula_puts_graders_together(web: Web) -> None:
    grader = _multi("0.25 * exact + max(like, 0) ^ 2 / 2", exact=_check("eq", "x"), like=_check("like", "Yes"))
    told = _run(web, grader).json
    assert told["reward"] == 0.5
    assert told["sub_rewards"] == {"exact": 0, "like": 1}


def test_what_goes_wrong_in_a_run_is_told_by_its_kind(web: Web) -> None:
    for grader, kind in (
        (_check("eq", "{{ item.nothing }}"), "invalid_variable_error"),
        (_check("eq", "{{ os.environ }}"), "invalid_variable_error"),
        (_multi("1 / a", a=_check("eq", "x")), "other_error"),
    ):
        told = _run(web, grader).json
        assert told["reward"] == 0 and told["metadata"]["errors"][kind] is True


@pytest.mark.parametrize(
    ("grader", "code"),
    [
        ({"type": "python", "name": "p", "source": "import os"}, "unsupported_grader"),
        ({"type": "label_model", "name": "p"}, "unsupported_grader"),
        (_likeness("cosine", "a"), "unsupported_grader"),
        (_likeness("meteor", "a"), "unsupported_grader"),
        (
            {"type": "score_model", "name": "s", "model": "m", "input": [{"role": "user", "content": "a"}]},
            "unsupported_grader",
        ),
        (_multi("a", a={"type": "python", "name": "p", "source": "1"}), "unsupported_grader"),
        (_multi("b", a=_check("eq")), "invalid_formula"),
        (_multi("a.b", a=_check("eq")), "invalid_formula"),
        (_multi("a)", a=_check("eq")), "invalid_formula"),
        ({"type": "other", "name": "p"}, "invalid_value"),
        (_check("contains"), "invalid_value"),
        (_check("eq", "x" * 70_000), "string_above_max_length"),
    ],
)
def test_a_grader_that_cannot_be_used_is_a_400(web: Web, grader: dict[str, Any], code: str) -> None:
    answer = _run(web, grader)
    assert (answer.status, answer.error["code"]) == (400, code)


def test_a_good_grader_is_given_back(web: Web) -> None:
    grader = _multi("a", a=_check("eq"))
    assert web.ask("POST", VALIDATE, {"grader": grader}).json == {"grader": grader}
    single = {**grader, "graders": _check("eq"), "calculate_output": "c"}
    assert web.ask("POST", VALIDATE, {"grader": single}).json == {"grader": single}
    assert web.ask("POST", VALIDATE, {"grader": _multi("x", a=_check("eq"))}).status == 400


@pytest.fixture
def judge() -> Iterator[HTTPServer]:
    """Says what its model's name says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path, self.headers["authorization"], body))
            answer = {"choices": [{"message": {"content": body["model"]}}], "usage": {"total_tokens": 5}}
            self.send_response(500 if body["model"] == "broken" else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_arguments: Any) -> None: ...

    asked: list[Any] = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked = asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_judge_is_asked_only_at_the_servers_own_address(
    judge: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWTUNE_JUDGE_URL", f"http://127.0.0.1:{judge.server_port}/v1/")
    monkeypatch.setenv("FEWTUNE_JUDGE_KEY", "of-the-judge")
    web = Web(tmp_path)
    try:
        grader = {"type": "score_model", "name": "s", "model": "0.75", "input": [{"role": "user", "content": SAMPLE}]}
        told = _run(web, {**grader, "base_url": "http://evil.example"}).json
        assert told["reward"] == 0.75
        assert told["model_grader_token_usage_per_model"] == {"0.75": 5}
        path, key, body = judge.asked[0]  # type: ignore[attr-defined]
        assert (path, key) == ("/v1/chat/completions", "Bearer of-the-judge")
        assert body["messages"][0] == {"role": "user", "content": "Yes, of course"}
        for model, kind in (("good", "model_grader_parse_error"), ("7", "model_grader_parse_error")):
            assert _run(web, {**grader, "model": model}).json["metadata"]["errors"][kind] is True
        broken = _run(web, {**grader, "model": "broken"}).json["metadata"]["errors"]
        assert broken["model_grader_server_error"] is True
        assert _run(web, {**grader, "model": "7", "range": [0, 10]}).json["reward"] == 7
    finally:
        web.stop()


@pytest.mark.parametrize(
    "formula",
    [
        "a.__class__",
        "__import__('os')",
        "(lambda: a)()",
        "a if a else a",
        "[a][0]",
        "'x'",
        "True",
        "a < 1",
        "a; a",
        "open(a)",
        "min()",
        "log(a, a)",
        "min(a, key=a)",
        "max(*a)",
        "a // 2",
        "a % 2",
        "-" * 990 + "1",
        "(" * 300 + "1" + ")" * 300,
        "+".join("a" * 400),
        "",
    ],
)
def test_a_formula_is_arithmetic_and_nothing_else(formula: str) -> None:
    with pytest.raises(FormulaError):
        check_formula(formula, frozenset("a"))


@pytest.mark.parametrize(
    "formula", ["1/0", "exp(9999)", "1e300*1e300", "9^9^9^9", "sqrt(0-1)", "log(0)", "9" * 900, "(0-8)^0.5"]
)
def test_a_formula_that_comes_to_no_number_says_so(formula: str) -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        value_of(check_formula(formula, frozenset()), {})


def test_a_formula_follows_the_rules_of_arithmetic() -> None:
    numbers = {"a": 2.0, "b": 3.0}
    for formula, value in (
        ("a+b*2", 8),
        ("(a+b)*2", 10),
        ("a^b^2/4", 128),
        ("-a+abs(-b)", 1),
        ("min(a,b)/max(a,b,4)", 0.5),
    ):
        assert value_of(check_formula(formula, frozenset(numbers)), numbers) == value


def test_places_are_filled_once_and_only_from_item_and_sample() -> None:
    item = {"a": {"b": [1, "two"]}, "evil": "{{ sample.output_text }}"}
    assert filled("<{{item.a.b[1]}}>", item, "", most=99) == "<two>"
    assert filled("{{ item.a }} {{item.evil}}", item, "x", most=99) == '{"b": [1, "two"]} {{ sample.output_text }}'
    assert filled("{{ sample.output_json.n }}", {}, '{"n": 3}', most=99) == "3"
    assert filled("no places { } }}", {}, "", most=99) == "no places { } }}"
    for text in (
        "{{ item.a.b[9] }}",
        "{{ item.__class__ }}",
        "{{ 7*7 }}",
        "{{ item }}",
        "{{ sample.output_json.n }}",
        "{{}}",
    ):
        with pytest.raises(UnknownVariable):
            filled(text, item, "no json", most=99)
    with pytest.raises(FilledTooLong):
        filled("{{ item.evil }}" * 1000, {"evil": "x" * 1000}, "", most=10_000)
