"""Results as a Markdown table on stdout and a JSON file below build/bench."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.child import ROOT, cores

FOLDER = ROOT / "build" / "bench"
_PACKAGES = ("fewtune", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")


def show(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table; all columns but the first are set to the right."""
    rules = ["---", *["---:"] * (len(headings) - 1)]
    print("\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows)) + "\n", flush=True)


def write(name: str, measured: Mapping[str, Any]) -> None:
    """Write build/bench/<name>.json with the machine and the time beside what was measured."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    document = {"written_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine(), **measured}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"Written to {path.relative_to(ROOT)}.")


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": cores(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
