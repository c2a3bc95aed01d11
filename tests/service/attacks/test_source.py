"""What the source may not contain, since every server that had it was taken over by it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fewtune

_SOURCE = Path(fewtune.__file__).parent
_MODULES = frozenset(
    {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "picklescan", "litellm"}
)
_CALLS = frozenset({"eval", "exec", "compile", "__import__"})
_METHODS = frozenset(
    {
        ("torch", "load"),
        ("yaml", "load"),
        ("yaml", "unsafe_load"),
        ("yaml", "full_load"),
        ("os", "system"),
        ("os", "popen"),
        ("subprocess", "getoutput"),
        ("subprocess", "getstatusoutput"),
        ("jinja2", "Environment"),
        ("tempfile", "mktemp"),
    }
)
_KEYWORDS = frozenset({"trust_remote_code", "shell", "allow_pickle", "weights_only"})
_MEANT = {
    # A process and the child that it started speak over a pipe that nobody else can write to.
    "trackers/courier.py": {"pickle"},
    "trackers/delivery.py": {"pickle"},
    # The report's own page, which comes with the package.
    "report/html.py": {"jinja2.Environment"},
}


def banned(tree: ast.AST) -> Iterator[str]:
    """What is found, in words that name it."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name.partition(".")[0] in _MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from ([module] if module.partition(".")[0] in _MODULES else [])
                yield from (f"{module}.{one.name}" for one in names if (module, one.name) in _METHODS)
            case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
                yield f"{name}()"
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in _METHODS:
                yield f"{owner}.{name}"
            case ast.keyword(arg=str(name), value=value) if name in _KEYWORDS:
                yield from [] if isinstance(value, ast.Constant) and value.value is False else [name]
            case ast.Dict(keys=keys):
                yield from (str(key.value) for key in keys if isinstance(key, ast.Constant) and key.value in _KEYWORDS)
            case _:
                pass


def test_nothing_in_the_source_unpickles_runs_text_or_starts_a_shell() -> None:
    paths = sorted(_SOURCE.rglob("*.py"))
    assert len(paths) > 200
    found = {
        path.relative_to(_SOURCE).as_posix(): set(banned(ast.parse(path.read_text(encoding="utf-8")))) for path in paths
    }
    assert {path: what for path, what in found.items() if what} == _MEANT


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import joblib.memory",
        "from pickle import loads",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "model(trust_remote_code=True)",
        "model(trust_remote_code=wanted)",
        "options = {'trust_remote_code': True}",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "yaml.load(text)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
        "jinja2.Environment()",
        "from jinja2 import Environment",
    ],
)
def test_the_lint_sees(code: str) -> None:
    assert list(banned(ast.parse(code)))


def test_the_lint_passes_over_what_is_harmless() -> None:
    assert not list(banned(ast.parse("subprocess.run(['ls'], shell=False); safetensors.load(path); model.eval()")))
