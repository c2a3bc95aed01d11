"""Runs openai 0.25.0's `fine_tunes.prepare_data -q` on many files in one process.

The first argument is the folder into which openai and pandas were installed, and which is on the path. Each line of
stdin names a file, as JSON; each is answered by a line with the error that ended it, or null. What the tool writes
lies beside the file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any


def _validators(installed: Path) -> Any:
    # The package itself would import its HTTP client, which is not installed.
    spec = importlib.util.spec_from_file_location("validators_2022", installed / "openai" / "validators.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prepare(tool: Any, file: str) -> str | None:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            frame, remediation = tool.read_any_format(file)
            tool.apply_necessary_remediation(None, remediation)
            tool.apply_validators(frame, file, remediation, tool.get_validators(), True, tool.write_out_file)
    except (Exception, SystemExit) as error:  # whatever ends the tool is a refusal
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    warnings.simplefilter("ignore")
    tool = _validators(Path(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(_prepare(tool, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
