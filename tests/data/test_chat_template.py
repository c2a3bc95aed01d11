from __future__ import annotations

import resource
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.chat_template import ChatTemplate, open_template, tools_of, turn
from fewtune.data.sandbox import LONGEST_SOURCE
from fewtune.errors import BaseModelError, ChatTemplateError, DataError
from fewtune.types import Message
from standin.chat_models import NAMES, STYLES, seen_by_transformers

TURNS = [
    {"role": "user", "content": "Capital of Peru?"},
    {"role": "assistant", "content": "Lima. "},
    {"role": "user", "content": " And of Cuba?\n"},
    {"role": "assistant", "content": "<think>\nAn island.\n</think>\n\nHavana ✓"},
]
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "A “fact”", "parameters": {}}}]


def opened(source: str) -> ChatTemplate:
    return open_template(source, NAMES, "chat_template.jinja")


@pytest.mark.parametrize("style", STYLES.values(), ids=list(STYLES))
class TestRendering:
    @pytest.mark.parametrize("asks", [False, True])
    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_a_text_is_the_one_that_transformers_makes(self, style: Any, count: int, asks: bool) -> None:
        # Beside tools one of them writes the date, which is not the same for both.
        tools = None if "strftime_now" in style.template else TOOLS
        theirs = seen_by_transformers(style).apply_chat_template(
            TURNS[:count], tools=tools, tokenize=False, add_generation_prompt=asks
        )
        assert opened(style.template).render(TURNS[:count], tools, asks=asks) == theirs

    def test_a_text_is_the_same_every_time(self, style: Any) -> None:
        template = opened(style.template)
        assert template.render(TURNS, TOOLS) == template.render(TURNS, TOOLS)


def test_the_date_is_always_the_same() -> None:
    assert opened("{{ strftime_now('%d %b %Y') }}").render([]) == "26 Jul 2024"


def test_what_a_template_refuses_is_said_in_its_own_words() -> None:
    with pytest.raises(DataError, match="Turns must alternate"):
        opened(STYLES["gemma"].template).render([TURNS[0], TURNS[2]])


class TestTurns:
    def test_arguments_of_a_call_are_an_object_for_the_template(self) -> None:
        calls = '[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}]'
        said = turn(Message(role="assistant", content="", calls=calls), "")
        assert said["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}

    def test_arguments_that_are_no_json_stay_text(self) -> None:
        calls = '[{"function": {"name": "f", "arguments": "{"}}]'
        said = turn(Message(role="assistant", content="", calls=calls), "")
        assert said["tool_calls"][0]["function"]["arguments"] == "{"

    def test_a_developer_is_the_system_where_the_template_knows_none(self) -> None:
        message = Message(role="developer", content="Be brief.")
        assert turn(message, "{{ 'system' }}")["role"] == "system"
        assert turn(message, "{{ 'developer' }}")["role"] == "developer"

    def test_a_tools_answer_names_its_call(self) -> None:
        said = turn(Message(role="tool", content="1", name="f", call_id="c"), "tool")
        assert said == {"role": "tool", "content": "1", "name": "f", "tool_call_id": "c"}

    def test_tools_that_are_no_json_are_an_error(self) -> None:
        with pytest.raises(DataError, match="not JSON"):
            tools_of("{")


_A = "{% set ns = namespace(s='a', l=[1], n=9) %}{% for i in range(99) %}"
_LONG = "{% set s = 'a' * 900000 %}{% for i in range(99999) %}"
HOSTILE = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a loop that skips": "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "a long loop of a long body": "{% for a in range(99999) %}" + "{% if a == 1 %}{% endif %}" * 1500 + "{% endfor %}",
    "a huge range": "{% for a in range(10 ** 12) %}{% endfor %}",
    "doubling with ~": _A + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "doubling with +": _A + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling in a block": _A + "{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}",
    "doubling of lists": _A + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "doubling of tuples as keys": _A + "{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ {ns.l: 1} }}",
    "doubling of objects": _A + "{% set ns.l = dict(a=ns.l, b=ns.l) %}{% endfor %}{{ ns.l }}",
    "squares of squares": _A + "{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "a tower of powers": "{{ 9 ** 9 ** 9 ** 9 ** 9 }}",
    "a long text": "{{ 'a' * 10 ** 10 }}",
    "padding by a filter": "{{ 'a' | center(10 ** 10) }}",
    "padding by a method": "{{ 'a'.ljust(10 ** 10) }}",
    "padding by a format": "{{ '{:>1000000000}'.format(1) }}",
    "padding by %": "{{ '%1000000000d' % 1 }}",
    "replacing": _A + "{% set ns.s = (ns.s * 9).replace('a', ns.s * 99) %}{% endfor %}",
    "joining": "{{ ('a' * 900000).join(range(99999) | map('string')) }}",
    "searching": _LONG + "{{ ('a' * 400000 ~ 'b') in s }}{% endfor %}",
    "comparing": _LONG + "{{ s == s ~ '' }}{% endfor %}",
    "slicing": _LONG + "{% set t = s[1:] %}{% endfor %}",
    "sorting": "{% for i in range(99999) %}{{ range(99999) | sort | length }}{% endfor %}",
    "a date of any length": "{{ strftime_now('%A' * 1000) }}",
    "recursion": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "branching recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for a in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "an endless source": "{% set c = cycler(1) %}{% for i in range(99) %}{{ c.next() }}{% endfor %}",
    "attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attributes by a filter": "{{ '' | attr('__class__') }}",
    "attributes of a function": "{{ raise_exception.__globals__['datetime'] }}",
    "attributes of a class": "{{ namespace.__init__.__globals__ }}",
    "storing inner names": "{% set ns = namespace(__class__=1) %}",
    "including": "{% include '/etc/passwd' %}",
    "importing": "{% import 'os' as os %}",
    "extending": "{% extends 'base' %}",
    "a block of itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "changing what was given": "{{ messages.append(1) }}",
    "deep brackets": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "deep blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "many parts": "{{a}}" * 11_000,
    "a large source": "x" * (LONGEST_SOURCE + 1),
    "no template": "{% for %}",
}


class TestHostileTemplates:
    @pytest.mark.parametrize("source", HOSTILE.values(), ids=list(HOSTILE))
    def test_each_is_refused_and_stays_small(self, source: str) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF)
        with pytest.raises(ChatTemplateError, match=r"chat_template\.jinja: The base's chat template cannot be used"):
            opened(source).render(TURNS)
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert after.ru_maxrss - before.ru_maxrss < 256 * 1024

    @pytest.mark.parametrize("path", ["raise_exception.__globals__", "messages | map(attribute='__class__') | first"])
    def test_what_is_hidden_prints_nothing(self, path: str) -> None:
        assert opened(f"{{{{ {path} }}}}").render(TURNS) in ("", "Undefined")

    def test_a_template_cannot_name_the_filters_that_charge_it(self) -> None:
        with pytest.raises(BaseModelError):
            opened("{{ 1 | fewtune:each(-1000000) }}")

    def test_what_it_may_use_grows_with_the_conversation(self) -> None:
        template = opened(STYLES["thinking"].template)
        turns = [{**one, "content": one["content"] * 2000} for one in TURNS * 50]
        assert len(template.render(turns)) > 1_000_000

    @given(st.text(st.sampled_from("{}%# -+~*|.()[]'\"\nabcforinset=messages0123456789"), max_size=60))
    @settings(max_examples=50, deadline=None)
    def test_any_text_is_a_template_or_a_clear_error(self, source: str) -> None:
        try:
            opened(source).render(TURNS)
        except (BaseModelError, DataError) as error:
            assert error.what


def test_a_template_without_special_names_renders_nothing_for_them() -> None:
    template = opened("{{ bos_token }}{{ pad_token }}x")
    assert template.render([]) == "<|begin|>x"
    assert open_template("{{ bos_token }}x", {}, "here").render([]) == "x"


def test_a_template_keeps_what_it_was_made_of() -> None:
    template = opened("x")
    assert (template.source, template.where, dict(template.names)) == ("x", "chat_template.jinja", NAMES)
    assert replace(template, names={}).render([]) == "x"
