"""Scripts and data inside a page, and the policy that lets these scripts run and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

_UNSAFE = re.compile("[<>&\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What could end a script, or mislead whoever reads the source of the page."""


def embedded(value: Any) -> Markup:
    """JSON to stand between script tags, whatever its texts say."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def script(name: str) -> Markup:
    """One of the scripts beside this file."""
    return Markup(resources.files("fewtune.report").joinpath(name).read_text(encoding="utf-8"))


def policy(scripts: Sequence[str]) -> str:
    """The page's Content-Security-Policy: nothing is loaded, sent or run but these scripts.

    A script may draw a picture that it made itself, so that a chart can be saved as one.
    """
    hashes = " ".join(f"'sha256-{_digest(one)}'" for one in scripts) or "'none'"
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes}; img-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
