"""What programs leave in texts: tags and entities of HTML, marks of Markdown, characters read in a wrong encoding."""

from __future__ import annotations

import html
import re

import ftfy
from ftfy.badness import is_bad

from fewtune.data.task import parses_as_json

_TAG = re.compile(
    r"</?(?:a|b|blockquote|body|br|center|code|div|em|font|h[1-6]|head|hr|html|i|img|li|ol|p|pre|script|small|span|strong"
    r"|style|sub|sup|table|tbody|td|th|thead|tr|u|ul)(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|[lr]squo|[lr]dquo|[nm]dash|hellip|#\d{2,6}|#x[0-9a-fA-F]{2,5});")
_MARKDOWN = re.compile(
    r"```|\*\*[^\s*](?:[^*\n]{0,200}[^\s*])?\*\*|^#{1,6} \S|\[[^\]\n]{1,200}\]\(https?://[^)\s]+\)", re.MULTILINE
)
_MARKDOWN_SIGNS = ("```", "**", "# ", "](")
_MISREAD = re.compile(
    r"[\u00c2-\u00f4\u0413\u0420\u0421\u0432][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u2013\u2014\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
    r"|[\u221a\u00ac\u201a\u201e][\u00a3-\u00bb\u2020\u2022\u2122\u00c4\u00e4]"
)
"""The first byte of a character of UTF-8 and a later one, as Windows-1252, Latin-1, Windows-1251 or MacRoman show
them: a quick look, before ftfy's slower and better one."""
_MOST_NESTED = 4


def has_tag(text: str) -> bool:
    return "<" in text and _TAG.search(text) is not None


def has_markdown(text: str) -> bool:
    for sign in _MARKDOWN_SIGNS:
        if sign in text:
            return _MARKDOWN.search(text) is not None
    return False


def has_entity(text: str) -> bool:
    """Whether `unescaped` changes it."""
    return _may_have_entity(text) and unescaped(text) != text


def unescaped(text: str) -> str:
    """The text with its entities put into characters, also those that were escaped again.

    JSON stays as it is where a quote in the place of &quot; would break it.
    """
    after = text
    for _ in range(_MOST_NESTED):
        if not _may_have_entity(after):
            break
        after = _ENTITY.sub(lambda entity: html.unescape(entity[0]).replace("\xa0", " "), after)
    return text if parses_as_json(text) and not parses_as_json(after) else after


def _may_have_entity(text: str) -> bool:
    return "&" in text and _ENTITY.search(text) is not None


def is_misread(text: str) -> bool:
    """Whether UTF-8 was read as something else, as in `cafÃ©`."""
    return not text.isascii() and _MISREAD.search(text) is not None and is_bad(text)


def mended(text: str) -> str:
    """The text as it was before it was misread; unchanged where that cannot be told without a doubt."""
    if not is_misread(text):
        return text
    fixed = ftfy.fix_encoding(text)
    return text if is_bad(fixed) else fixed
