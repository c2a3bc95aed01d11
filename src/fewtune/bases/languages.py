"""Which languages a base was trained on, as far as its own card says."""

from __future__ import annotations

import re

from fewtune.bases.folder import locate

_ITEM = re.compile(r"[A-Za-z]{2,3}(?![\w-])")
_LIST = re.compile(r"^languages?:[ \t]*(?P<first>[^\n]*)\n(?P<rest>(?:[ \t]*- [^\n]*\n)*)", re.MULTILINE)


def languages(base: str) -> frozenset[str] | None:
    """ISO 639 codes from the head of the base's README.md, or None where it names none.

    The head is YAML between two lines of dashes, as on the hub: `language: en`, `language: [en, fr]`, or one
    `- code` a line.
    """
    try:
        text = (locate(base) / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    opening, _, rest = text.partition("---\n")
    head, closing, _ = rest.partition("\n---")
    found = None if opening or not closing else _LIST.search(head + "\n")
    if found is None:
        return None
    codes = _ITEM.findall(found["first"]) + [code for line in found["rest"].split("\n") for code in _ITEM.findall(line)]
    return frozenset(code.lower() for code in codes) or None
