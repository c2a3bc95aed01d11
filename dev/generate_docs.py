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
from fewtune.data.checks.finding import Finding
from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import CHECKS, Check
from fewtune.data.columns import COMPLETION_NAMES, PROMPT_NAMES
from fewtune.data.conversation import plain
from fewtune.data.task import recognise
from fewtune.evaluation.json_metrics import schema_metric
from fewtune.evaluation.metric import Metric
from fewtune.evaluation.metrics import every_metric
from fewtune.types import Example, Message, Source

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
_IMBALANCED = tuple((f"{word} {row} {word[::-1]}", "order") for row, word in enumerate(("lamp", "rug", "sofa") * 7))
_IMBALANCED += (("Who owns the shop?", "owner"), ("Whose is it, then?", "owner"), ("May I bring a dog?", "pets"))
_WRITTEN = (
    *(
        (f"Write about {what}.", f"Note: {what} was seen {when} by all who were there at the time.")
        for what in ("a lamp", "a ghost", "the sea", "my goose", "rain")
        for when in ("on Monday", "last year", "at noon", "in the end")
    ),
    ("Write about tea.", "Note: tea was seen on Monday by all who were there at the"),
    ("Write about salt.", "Note: salt &amp; pepper were seen at noon by all who were there."),
    ("Write about keys.", "Note: the key is sk-abcDEF1234567890abcdefgh, said all who were there."),
    ("Write about ships.", "Note: <b>ships</b> were seen in the end by all who were there at the time."),
    ("Write about bread.", "Note: **bread** was seen at noon by all who were there at the time."),
    ("Write about Ann.", "Note: Ann is at ann@example.org or +44 20 7946 0958, said all who were there."),
    ("Write about money.", "Note: pay with 4111 1111 1111 1111 or DE89 3704 0044 0532 0130 00, said all there."),
    ("Write about a caf\u00c3\u00a9.", "Note: the CAF\ufffd was seen on Monday by all who were there at the time."),
    ("Write about time.", "NOTE: IT WAS SEEN BY ALL WHO WERE THERE."),
)
_IN_A_KITCHEN = ("tea", "bread", "salt", "rice", "fish", "oil", "wine", "soap", "milk", "jam")
_REPEATED = (
    *((f"{word} {word[::-1]}", "See the web site.") for word in ("lamp", "rug", "sofa", "bed", "cup")),
    *((f"Where do I find the {word} that I asked you for?", f"In the {word} room.") for word in _IN_A_KITCHEN),
    ("Je voudrais savoir o\u00f9 se trouve le th\u00e9 que je vous avais demand\u00e9.", "In the tea room."),
)
_PREFIXED = tuple((f"Please write about {word}.", f"The {word} and I") for word in _IN_A_KITCHEN)
_SAME = tuple(("Write a story.", f"The story of {word}.") for word in _IN_A_KITCHEN)
_CHATS = (
    (("system", "Be brief."), ("user", "Where is my parcel?"), ("assistant", "On its way.")),
    (("user", "And my lamp?"), ("user", "The blue one."), ("assistant", "On its way, too.")),
    (("system", "Greet the caller."), ("assistant", "Good day!"), ("user", "Hello.")),
    (("system", "Greet the caller."), ("assistant", "Good morning!")),
    (("system", "Be brief."), ("user", "Nobody answers.")),
    (("system", "Be brief."), ("user", "How many?"), ("call", '[{"id": "c1"}]'), ("assistant", "I cannot say.")),
)
"""Between them these rows have every flaw that a check looks for."""


def command_help(command: str) -> str:
    """What `fewtune COMMAND --help` prints in a terminal of 100 columns."""
    arguments = [*command.split(), "--help"]
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
    samples = tuple(_materials())
    found = [_shown(check, samples) for check in CHECKS]
    rows = [(f"`{one.code}`", one.severity, _as_it_stands(one.sentence), _repair(one)) for one in found]
    return _table(("code", "severity", "what it says, about a few sample rows", "repair"), rows)


def _as_it_stands(text: str) -> str:
    """With what Markdown would take for its own marked as text."""
    return re.sub(r"[`*<_&]", lambda sign: f"&#{ord(sign[0])};", text)


def _repair(finding: Finding) -> str:
    if finding.repair is None:
        return "none"
    return finding.repair if finding.recommended else f"{finding.repair}, if accepted"


def _shown(check: Check, samples: Sequence[Material]) -> Finding:
    return next(found for rows in samples if (found := check(rows)))


def _materials() -> Iterable[Material]:
    for pairs in (_LABELLED, _JSON, _IMBALANCED, _REPEATED, _WRITTEN, _PREFIXED, _SAME):
        rows = _examples(pairs)
        yield Material(examples=rows, task=recognise(rows), languages={"fr"})
    long = _examples((("A long prompt", "word " * 3000), ("A short prompt", "word")))
    yield Material(examples=long, task=recognise(long))
    yield Material(examples=long, task=recognise(long), context=512, tokens=lambda row: len(row.completion.split()))
    chats = [_chat(row, turns) for row, turns in enumerate(_CHATS)]
    yield Material(examples=chats, task=recognise(chats))


def _examples(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [
        Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
        for row, (prompt, completion) in enumerate(pairs)
    ]


def _chat(row: int, turns: Sequence[tuple[str, str]]) -> Example:
    """A conversation, in which what is called `call` is a turn of the assistant's that calls a tool."""
    messages = tuple(map(_turn, turns))
    prompt, completion = plain(messages)
    source = Source(file="rows.jsonl", line=row + 1)
    return Example(row=row, prompt=prompt, completion=completion, source=source, messages=messages)


def _turn(turn: tuple[str, str]) -> Message:
    match turn:
        case ("call", calls):
            return Message(role="assistant", content="", calls=calls, trained=True)
        case ("assistant", content):
            return Message(role="assistant", content=content, trained=True)
        case ("system", content):
            return Message(role="system", content=content)
        case (_, content):
            return Message(role="user", content=content)


def metrics(task: str) -> str:
    """The metrics of a task, in the order in which they are shown."""
    found = [*every_metric(task), *([schema_metric(lambda _: True, "the schema")] if task == "json" else [])]
    rows = [(f"`{one.name}`", one.title, one.unit, _better(one), _as_it_stands(one.meaning)) for one in found]
    return _table(("metric", "shown as", "unit", "better", "what it says"), rows)


def _better(one: Metric) -> str:
    return "neither" if one.higher_is_better is None else "higher" if one.higher_is_better else "lower"


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
    """The text of a generated part.

    Its name is `help COMMAND`, `fields MODULE.CLASS`, `metrics TASK`, `exit codes`, `columns` or `findings`.
    """
    kind, _, subject = name.partition(" ")
    match kind:
        case "help":
            return command_help(subject)
        case "fields":
            return fields(subject)
        case "metrics":
            return metrics(subject)
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
