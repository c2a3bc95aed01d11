"""The prose beside the code: its generated parts are fresh, its code runs, its links lead somewhere."""

from __future__ import annotations

import json
import math
import re
import runpy
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from typer import Typer
from typer.models import TyperInfo
from typer.testing import CliRunner

from fewtune.cli.app import app
from fewtune.experiment import estimating

ROOT = Path(__file__).parents[1]
FOLDERS = ("bench", "dev", "docs", "examples", "pretraining", "src", "tests")
FILES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
CONTRIBUTING = ROOT / "CONTRIBUTING.md"

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)|^\[[^\]]+\]: (?!\w+:)(\S+)$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for found in _LINK.finditer(_FENCED.sub("", path.read_text(encoding="utf-8"))):
        place, _, anchor = (found[1] or found[2] or "").partition("#")
        target = path.parent / place if place else path
        assert target.exists(), f"{name(path)} links to {place}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name(path)} links to {place}#{anchor}"


@pytest.fixture(scope="module")
def renewed() -> Callable[[str], str]:
    return runpy.run_path(str(ROOT / "dev" / "generate_docs.py"))["renewed"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=name)
def test_what_is_generated_is_fresh(path: Path, renewed: Callable[[str], str]) -> None:
    text = path.read_text(encoding="utf-8")
    assert renewed(text) == text, "write it again: make docs"


def test_every_command_has_its_section() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    commands = {*names_of(app), *(f"{group.name} {name}" for group in app.registered_groups for name in of(group))}
    assert set(re.findall(r"^## fewtune ([\w ]+)$", text, re.MULTILINE)) == commands
    assert set(re.findall(r"<!-- generated: help ([\w ]+) -->", text)) == commands


def names_of(app: Typer) -> set[str]:
    return {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}


def of(group: TyperInfo) -> set[str]:
    return names_of(group.typer_instance) if group.typer_instance else set()


def test_an_unknown_part_cannot_be_generated(renewed: Callable[[str], str]) -> None:
    with pytest.raises(KeyError):
        renewed("<!-- generated: nonsense -->\n<!-- end of generated -->")


@pytest.mark.parametrize(
    ("place", "code"), [found.groups() for found in _PYTHON.finditer(CONTRIBUTING.read_text(encoding="utf-8"))]
)
def test_the_python_in_contributing_runs_in_the_file_that_it_names(place: str, code: str) -> None:
    exec(compile(code, place, "exec", flags=annotations.compiler_flag), names_in(ROOT / place))


def names_in(path: Path) -> dict[str, object]:
    """What the code of a module of ours finds there; nothing for a file that is yet to be written, or a test's."""
    if not (path.exists() and path.is_relative_to(ROOT / "src")):
        return {"__name__": path.stem}
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return dict(vars(import_module(".".join(part for part in parts if part != "__init__"))))


def test_contributing_draws_the_layers_that_are_enforced() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    drawn = re.search(r"^```\n(__main__\n.*?)^```$", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert drawn
    assert [re.split(r" {2,}", line)[0] for line in drawn[1].splitlines()] == contract["layers"]


def with_linked(section: str, text: str) -> str:
    """The section with those of the same text that it links to, and those that these link to."""
    sections = {part.partition("\n")[0].lower(): part for part in text.split("\n### ")[1:]}
    found, waiting = [section], re.findall(r"\(#(\w+)\)", section)
    while waiting:
        linked = sections.pop(waiting.pop(), "")
        found.append(linked)
        waiting += re.findall(r"\(#(\w+)\)", linked)
    return "\n".join(found)


@pytest.mark.parametrize("command", ["prepare", "estimate", "runs", "prices", "doctor", "config"])
def test_the_fields_of_a_json_document_are_described(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWTUNE_HOME", str(tmp_path))
    monkeypatch.setenv("FEWTUNE_PROVIDER", "fake")
    arguments = {
        "prepare": [str(ROOT / "examples" / "orders.csv"), "--out", str(tmp_path)],
        "estimate": [str(ROOT / "examples" / "orders.csv")],
    }
    shown = CliRunner().invoke(app, [command, *arguments.get(command, []), "--json"], catch_exceptions=False)
    document = json.loads(shown.stdout)
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    described = {*re.findall(r"`(\w+)`", with_linked(section, text)), "schema_version"}
    lists = (value for value in document.values() if isinstance(value, list))
    assert described >= {*document, *(key for entries in lists for entry in entries for key in entry)}


def test_the_metric_of_the_docs_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (place, code), *others = _PYTHON.findall(text)
    assert not others
    (tmp_path / place).write_text(code, encoding="utf-8")
    command = re.search(rf"^fewtune (run .*{place}.*)$", text, re.MULTILINE)
    assert command
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.csv").symlink_to(ROOT / "examples" / "orders.csv")
    words = [*command[1].split(), "--provider", "fake", "--json", "--quiet"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0
    summary = json.loads(shown.stdout)
    own = [line["name"] for line in summary["evaluation"]["metrics"] if line["own"]]
    assert own and summary["evaluation"]["primary"] == own[0]
    assert summary["evaluation"]["failing"] == []


@pytest.mark.slow
def test_the_python_in_the_readme_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    monkeypatch.chdir(ROOT)
    # However busy the machine is: what is tested is what stands there.
    monkeypatch.setattr(estimating, "FREE_MINUTES", math.inf)
    names: dict[str, object] = {}
    exec(compile(found[1], "README.md", "exec"), names)
    assert getattr(names["run"], "report_path").exists()  # noqa: B009


def test_every_command_and_option_in_the_readme_exists() -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^fewtune (.*)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        words = line.split("#")[0].split()
        known = {option for parameter in commands[words[0]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
