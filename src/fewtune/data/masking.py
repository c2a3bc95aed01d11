"""Secrets and personal data in texts: what counts as one, and how a text looks without them.

Shapes alone find too much: a card number has to satisfy Luhn's check digit and an IBAN its own, and a key has to
look random.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

_Length = Callable[[str], int]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of secret or personal data."""

    code: str
    """Also the code of the finding."""
    name: str
    """With its article, as it completes 'In 3 rows there is ...'."""
    mask: str
    """Stands in its place."""
    pattern: re.Pattern[str]
    may_be_in: Callable[[str], bool]
    """A quick look that is never false where there is one."""
    length: _Length
    """How much of what the pattern matched is one in truth, from its start; 0 where it only looks like one."""


_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END).)*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<![A-Za-z0-9_-])(?:"
    r"(?:sk|rk|pk)[-_][A-Za-z0-9_-]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{20,}|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})",
    re.DOTALL,
)
_KEY_MARKS = (
    "PRIVATE KEY-----", "sk-", "sk_", "rk_", "pk_", "rk-", "pk-", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_",
    "ghr_", "github_pat_", "glpat-", "xox", "AIza", "hf_", "eyJ",
)  # fmt: skip

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])(?!@)")

_MANY_DIGITS = re.compile(r"\d(?:[ ()./+-]{0,3}\d){6}")
_CARD = re.compile(r"(?<!\w)(?<!\d[.,-])\d(?:[ -]?\d){12,18}")
_ISSUER = re.compile(r"4|5[1-5]|2[2-7]|3[47]|6(?:011|4|5|2)|3(?:0[0-5]|[68])|35")
_CARD_LENGTHS = {"4": (19, 16, 13), "5": (16,), "2": (16,), "3": (16, 15, 14), "6": (19, 18, 17, 16)}

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_IBAN_LENGTHS = {
    code: int(length)
    for code, length in re.findall(
        r"([A-Z]{2})(\d{2})",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22"
        "GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27"
        "MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20",
    )
}

_PHONE = re.compile(
    r"(?<![\w+.])(?<!\d[ .-])(?:"
    r"\+\d{1,3}(?:[ ./-]{0,2}(?:\(\d{1,4}\)|\d{1,5})){2,6}"
    r"|(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}"
    r"|0\d(?:[ .-]\d\d){4}"
    r"|(?:\(0\d{1,5}\) ?|0\d{2,5}[ /-])\d{3,4}[ -]?\d{3,5}"
    r")(?![\w]|[.,-]\d)"
)
_PHONE_DIGITS = range(9, 16)


def luhn_holds(number: str) -> bool:
    """Whether the digits satisfy the check digit of payment cards; anything else in the text is passed over."""
    digits = [int(letter) for letter in number if letter.isdecimal()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return bool(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_holds(number: str) -> bool:
    """Whether it is an IBAN of the right length for its country, with the right check digits (ISO 13616)."""
    letters = number.replace(" ", "")
    if len(letters) != _IBAN_LENGTHS.get(letters[:2]):
        return False
    return int("".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])) % 97 == 1


def kinds_in(text: str) -> tuple[str, ...]:
    """Codes of the kinds that are in the text."""
    if not _may_hold_any(text):
        return ()
    found: list[str] = []
    for kind in KINDS:
        if kind.may_be_in(text) and (without := _without(text, kind)) != text:
            found.append(kind.code)
            text = without
    return tuple(found)


def masked(text: str, codes: Collection[str] | None = None) -> str:
    """The text with a mask in place of all that is of these kinds (of any, if none are given)."""
    if not _may_hold_any(text):
        return text
    for kind in KINDS:
        if (codes is None or kind.code in codes) and kind.may_be_in(text):
            text = _without(text, kind)
    return text


def _without(text: str, kind: Kind) -> str:
    parts: list[str] = []
    done = place = 0
    while found := kind.pattern.search(text, place):
        place = found.start() + 1
        if length := kind.length(found[0]):
            parts += (text[done : found.start()], kind.mask)
            done = place = found.start() + length
    return "".join((*parts, text[done:]))


def _whole_key(key: str) -> int:
    """A key drawn by chance has digits and capitals; a name such as sk-learn-contrib-packages has not."""
    is_random = sum(map(str.isdecimal, key)) >= 2 and any(map(str.isupper, key))
    return len(key) if is_random or key[:2] not in ("sk", "rk", "pk") else 0


def _card_within(number: str) -> int:
    """The pattern may have gone on into digits behind the card's."""
    ends = [place + 1 for place, letter in enumerate(number) if letter.isdecimal()]
    digits = "".join(filter(str.isdecimal, number))
    for length in _CARD_LENGTHS[digits[0]] if _ISSUER.match(digits) else ():
        stands_alone = length <= len(ends) and not number[ends[length - 1] :][:1].isdecimal()
        if stands_alone and luhn_holds(digits[:length]):
            return ends[length - 1]
    return 0


def _iban_within(number: str) -> int:
    """The pattern may have gone on into words behind the account's."""
    letters = _IBAN_LENGTHS.get(number[:2], 0)
    ends = [place + 1 for place, letter in enumerate(number) if letter != " "]
    end = ends[letters - 1] if 0 < letters <= len(ends) else 0
    return end if end and iban_holds(number[:end]) else 0


def _whole_phone(number: str) -> int:
    return len(number) if sum(map(str.isdecimal, number)) in _PHONE_DIGITS else 0


def _has_at(text: str) -> bool:
    return "@" in text


def _has_digits(text: str) -> bool:
    return _MANY_DIGITS.search(text) is not None


def _has_key_mark(text: str) -> bool:
    for mark in _KEY_MARKS:  # noqa: SIM110 - a generator would take most of the time, over a million rows
        if mark in text:
            return True
    return False


def _may_hold_any(text: str) -> bool:
    return _has_at(text) or _has_digits(text) or _has_key_mark(text)


def _kind(code: str, name: str, mask: str, pattern: re.Pattern[str], length: _Length) -> Kind:
    looks = {"secret_key": _has_key_mark, "email_address": _has_at}
    may_be_in = looks.get(code, _has_digits)
    return Kind(code=code, name=name, mask=mask, may_be_in=may_be_in, pattern=pattern, length=length)


KINDS: tuple[Kind, ...] = (
    _kind("secret_key", "a secret key", "[key]", _KEY, _whole_key),
    _kind("iban", "the number of a bank account (IBAN)", "[iban]", _IBAN, _iban_within),
    _kind("card_number", "the number of a payment card", "[card]", _CARD, _card_within),
    _kind("email_address", "an e-mail address", "[email]", _EMAIL, len),
    _kind("phone_number", "a telephone number", "[phone]", _PHONE, _whole_phone),
)
"""In the order in which they are looked for: an account's digits are no telephone number."""
