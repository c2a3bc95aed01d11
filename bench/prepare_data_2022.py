"""openai 0.25.0's `fine_tunes.prepare_data -q`, installed beside the project and run in a process of its own.

`python -m bench.prepare_data_2022 FOLDER` reads one file name a line, as JSON, and answers each with a line: how the
tool ended, as JSON. What the tool writes lies beside the file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.child import ROOT, peak_rss_bytes

# Another pandas reads some cells otherwise, so it is pinned as well.
_PACKAGES = (["--no-deps", "openai==0.25.0"], ["pandas==3.1.1", "openpyxl==3.1.5"])
_FOLDER = ROOT / "build" / f"prepare-data-2022-py{sys.version_info.major}.{sys.version_info.minor}"
_PATIENCE_SECONDS = 300


class NotInstallable(RuntimeError):
    """The packages could not be fetched; the message has pip's last line."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the tool ended on one file."""

    error: str | None
    """None where it went through."""
    seconds: float
    """With everything imported."""
    peak_rss_bytes: int
    """Of the process, up to then."""


def installed() -> Path:
    """The folder with the old packages, which are fetched once; raises NotInstallable."""
    done = _FOLDER / "done"
    if not done.exists():
        for packages in _PACKAGES:
            _install(packages)
        done.touch()
    return _FOLDER


def _install(packages: Sequence[str]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    command = [*pip, "--upgrade", "--target", str(_FOLDER), *packages]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except subprocess.CalledProcessError as error:
        raise NotInstallable((error.stderr.strip().splitlines() or ["pip said nothing"])[-1]) from error
    except subprocess.TimeoutExpired as error:
        raise NotInstallable(f"pip took more than {_PATIENCE_SECONDS} seconds") from error


def prepare_all(files: Sequence[Path]) -> list[Ended]:
    """Run the old tool on each file, all in one process that sees no other packages than those it had."""
    folder = str(installed())
    path = os.pathsep.join((folder, str(ROOT)))
    answered = subprocess.run(
        [sys.executable, "-S", "-m", "bench.prepare_data_2022", folder],
        input="".join(json.dumps(str(file)) + "\n" for file in files),
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"},
    )
    return [Ended(**json.loads(line)) for line in answered.stdout.splitlines()]


def _validators(folder: Path) -> Any:
    """The old module. Its package would import an HTTP client, which is not installed."""
    spec = importlib.util.spec_from_file_location("validators_2022", folder / "openai" / "validators.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prepare(tool: Any, file: str) -> None:
    """What the old command did with a file when it was called with `-q`; raises what it raised."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        frame, remediation = tool.read_any_format(file)
        tool.apply_necessary_remediation(None, remediation)
        tool.apply_validators(frame, file, remediation, tool.get_validators(), True, tool.write_out_file)


def _main(folder: str) -> None:
    warnings.simplefilter("ignore")
    tool = _validators(Path(folder))
    for line in sys.stdin:
        ended_by, started = None, time.perf_counter()
        try:
            _prepare(tool, json.loads(line))
        except (Exception, SystemExit) as error:  # whatever ends the tool is a refusal
            ended_by = f"{type(error).__name__}: {error}"
        ended = Ended(error=ended_by, seconds=time.perf_counter() - started, peak_rss_bytes=peak_rss_bytes())
        print(json.dumps(asdict(ended)), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
