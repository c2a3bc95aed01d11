"""Write the generated parts of docs/ again: `python dev/generate_docs.py`.

A part stands in a Markdown file between `<!-- generated: NAME -->` and `<!-- end of generated -->`; what it
says comes from the code that it is about. A test fails while a part is stale.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from typer.testing import CliRunner

from fewtune import errors
from fewtune.cli.app import app
from fewtune.data.check import CHECKS, Check, Finding
from fewtune.data.columns import COMPLETION_NAMES, PROMPT_NAMES
from fewtune.data.task import recognise
from fewtune.types import Example, Source

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 100
_PART = re.compile(r"(<!-- generated: (?P<name>.+?) -->\n).*?(<!-- end of generated -->)", re.DOTALL)

_LABELLED = (
    ("Where is my parcel? It was due on Monday.", "delivery"),
    ("I would like my money back for the broken lamp.", "refund"),
    ("Has order 1442 left the warehouse yet?", "Delivery"),
    ("The jug came in two pieces, please pay me back.", "refund"),
    ("When will the blue shelves be here at last?", "delivery"),
    ("When will the blue shelves be here at last?", "refund"),
    ("So when will the blue shelves be here at last?", "delivery"),
    ("Can it come before Friday?", "delivery"),
    ("Can it come before Friday?", "delivery"),
    ("You took the price of the rug twice.", " refund"),
    ("Does the courier ring at the door?", "delivery"),
    ("The clock stopped after a day.", "TBD"),
    ("The blue chair is not the one I ordered.", ""),
    ("", "refund"),
)
_JSON = (("Two loaves", '{"item": "loaf", "quantity": 2}'),) * 5 + (("Three rolls", '{"item": "roll", '),)
"""Between them these rows have every flaw that a check looks for."""


def command_help(command: str) -> str:
    """What `fewtune COMMAND --help` prints in a terminal of 100 columns."""
    arguments = [word for word in (command, "--help") if word]
    shown = CliRunner().invoke(
        app, arguments, prog_name="fewtune", terminal_width=WIDTH, max_content_width=WIDTH, color=False
    )
    lines = (line.rstrip() for line in shown.output.strip().splitlines())
    return "\n".join(("```text", f"$ {' '.join(('fewtune', *arguments))}", *lines, "```"))


def exit_codes() -> str:
    rows = [("0", "All went well.", ""), ("1", "A fault inside fewtune; please report it.", "")]
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and kind is not errors.FewtuneError and "exit_code" in vars(kind):
            rows.append((str(kind.exit_code), _first_paragraph(kind.__doc__), f"`{name}`"))
    return _table(("code", "meaning", "in Python"), rows)


def columns() -> str:
    rows = [(role, ", ".join(f"`{name}`" for name in names)) for role, names in _RECOGNISED]
    return _table(("column", "recognised names"), rows)


_RECOGNISED = (("prompt", PROMPT_NAMES), ("completion", COMPLETION_NAMES))


def findings() -> str:
    """Every check, with what it says about the sample rows; raises StopIteration for one that they do not show."""
    found = [_shown(check) for check in CHECKS]
    rows = [(f"`{one.code}`", one.severity, one.sentence, one.repair or "none") for one in found]
    return _table(("code", "severity", "what it says, about a few sample rows", "repair"), rows)


def _shown(check: Check) -> Finding:
    samples = (_examples(_LABELLED), _examples(_JSON))
    return next(found for rows in samples if (found := check(rows, recognise(rows))))


def _examples(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [
        Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
        for row, (prompt, completion) in enumerate(pairs)
    ]


def fields(path: str) -> str:
    """A table of a dataclass's fields from its source: name, type as in JSON, and the string below the field."""
    module_name, _, name = path.rpartition(".")
    module = import_module(module_name)
    (definition,) = ast.parse(inspect.getsource(getattr(module, name))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    rows: list[tuple[str, str, str]] = []
    for node, following in pairwise([*body, ast.Pass()]):
        if isinstance(node, ast.AnnAssign):
            rows.append((f"`{ast.unparse(node.target)}`", _json_type(node.annotation, module), _string(following)))
    return _table(("field", "type", "meaning"), rows)


def _string(node: ast.stmt) -> str:
    """The text of a string that stands alone; empty for anything else."""
    value = ast.literal_eval(node.value) if isinstance(node, ast.Expr) else ""
    return " ".join(value.split())


_SIMPLE = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "Any": "any"}


def _json_type(node: ast.expr, module: ModuleType) -> str:
    """A type in the words of JSON; a dataclass keeps its name, and what is neither is written as a string."""
    match node:
        case ast.Constant(value=None):
            return "null"
        case ast.BinOp(left=left, right=right):
            return f"{_json_type(left, module)} or {_json_type(right, module)}"
        case ast.Subscript(value=ast.Name(id="Mapping"), slice=ast.Tuple(elts=[_, value])):
            return f"object of {_json_type(value, module)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[value, *_])):
            return f"list of {_json_type(value, module)}"
        case ast.Name(id=name) if is_dataclass(vars(module).get(name)):
            return f"[{name}](#{name.lower()})"
        case ast.Name(id=name):
            return _SIMPLE.get(name, "string")
        case _:
            return "string"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())


def part(name: str) -> str:
    """The text of a generated part: `help run`, `fields MODULE.CLASS`, `exit codes`, `columns` or `findings`."""
    kind, _, subject = name.partition(" ")
    match kind:
        case "help":
            return command_help(subject)
        case "fields":
            return fields(subject)
        case _:
            return {"exit codes": exit_codes, "columns": columns, "findings": findings}[name]()


def renewed(text: str) -> str:
    """The text of a Markdown file with its generated parts written again."""
    return _PART.sub(lambda found: f"{found[1]}{part(found['name'])}\n{found[3]}", text)


def main() -> None:
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        fresh = renewed(text)
        if fresh != text:
            path.write_text(fresh, encoding="utf-8")
            print(f"docs/{path.name} was stale")


if __name__ == "__main__":
    main()
