"""Ways to use a tuned model and to make it again, as code to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from fewtune.report import words
from fewtune.report.summary import Summary

COMMANDS = ("generate", "export", "serve")
"""Commands that there are to use a model with; a snippet that needs another one is not shown."""
SERVER = "http://127.0.0.1:8484/v1"


@dataclass(frozen=True, kw_only=True)
class Snippet:
    title: str
    language: str
    """`python` or `shell`."""
    code: str


@dataclass(frozen=True, kw_only=True)
class _Way:
    title: str
    language: str
    write: Callable[[Summary], str]
    command: str | None = None
    """The command of ours that it needs."""
    adapter: bool = False
    """Whether it needs the weights at hand."""


def use(summary: Summary) -> tuple[Snippet, ...]:
    """What works for this run with the commands that there are."""
    return tuple(
        Snippet(title=way.title, language=way.language, code=way.write(summary))
        for way in _WAYS
        if (way.command is None or way.command in COMMANDS) and (not way.adapter or "adapter" in summary.files)
    )


def lock(summary: Summary) -> str:
    """A command that installs the versions which made the run; empty where they are not known."""
    # An index has no local versions such as 2.13.0+cpu, but what is installed as one satisfies the public version.
    packages = [
        f"{name}=={version.partition('+')[0]}" for name, version in summary.versions.items() if name != "python"
    ]
    return shlex.join(["pip", "install", *packages]) if packages else ""


def _python(summary: Summary) -> str:
    return (
        f"import fewtune\n\nmodel = fewtune.open_run({_quoted(summary.id)})\nprint(model.generate({_prompt(summary)}))"
    )


def _shell(summary: Summary) -> str:
    return f"fewtune generate {shlex.quote(summary.id)} {_shell_quoted(_given(summary))}"


def _serve(summary: Summary) -> str:
    return f"fewtune serve {shlex.quote(summary.id)}"


def _curl(summary: Summary) -> str:
    message = {"role": "user", "content": words.printable(_given(summary))}
    body = json.dumps({"model": words.printable(summary.id), "messages": [message]}, ensure_ascii=False)
    return (
        f'curl {SERVER}/chat/completions \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )


def _openai(summary: Summary) -> str:
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{SERVER}")\n'
        "answer = client.chat.completions.create(\n"
        f"    model={_quoted(summary.id)},\n"
        f'    messages=[{{"role": "user", "content": {_prompt(summary)}}}],\n'
        ")\n"
        "print(answer.choices[0].message.content)"
    )


def _peft(summary: Summary) -> str:
    base = _quoted(summary.files.get("base", summary.base))
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({base})\n"
        f"model = PeftModel.from_pretrained(base, {_quoted(summary.files['adapter'])})"
    )


_WAYS = (
    _Way(title="In Python", language="python", write=_python),
    _Way(title="In a shell", language="shell", write=_shell, command="generate"),
    _Way(title="Behind OpenAI's API, with a key that it prints", language="shell", write=_serve, command="serve"),
    _Way(title="Then with curl, the key in OPENAI_API_KEY", language="shell", write=_curl, command="serve"),
    _Way(title="Or with OpenAI's own client", language="python", write=_openai, command="serve"),
    _Way(title="With PEFT, without fewtune", language="python", write=_peft, adapter=True),
)


def _given(summary: Summary) -> str:
    return words.one_line(summary.predictions[0].prompt, 60) if summary.predictions else "Hello"


def _prompt(summary: Summary) -> str:
    return _quoted(_given(summary))


def _quoted(text: str) -> str:
    """A Python string literal in double quotes."""
    return json.dumps(words.printable(text), ensure_ascii=False)


def _shell_quoted(text: str) -> str:
    """Double quotes where they are safe and single ones would need escapes."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)
