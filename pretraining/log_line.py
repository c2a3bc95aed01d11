"""What a run tells as it goes on."""

from __future__ import annotations

import json
from pathlib import Path


def append(work: Path, **line: object) -> None:
    """Add a line to `log.jsonl`, and show it."""
    told = json.dumps(line)
    with (work / "log.jsonl").open("a") as log:
        log.write(told + "\n")
    print(told, flush=True)
