"""Fail for functions over 60 lines, their signatures aside, and for source files over 400, in src/ and pretraining/."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FUNCTION = 60
LONGEST_FILE = 400
ROOT = Path(__file__).parents[1]


def complaints(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    where = path.relative_to(ROOT)
    if lines > LONGEST_FILE:
        yield f"{where}: {lines} lines, at most {LONGEST_FILE}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.body[0].lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{where}:{node.lineno}: {node.name} has {length} lines, at most {LONGEST_FUNCTION}"


def main() -> None:
    paths = [path for folder in ("src", "pretraining") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [complaint for path in paths for complaint in complaints(path)]
    print("\n".join(found) or f"{len(paths)} files: no function over {LONGEST_FUNCTION} lines.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
