from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.masking import iban_holds, kinds_in, luhn_holds, masked

AROUND = st.sampled_from(["", " ", "\n", "(", '"', "see ", "to: ", ", "])
BEHIND = st.sampled_from(["", " ", "\n", ")", '"', ".", ", ok", " 123", " AND MORE WORDS"])
DIGITS = st.text("0123456789", min_size=1)


def with_check_digit(start: str) -> str:
    return next(start + digit for digit in "0123456789" if luhn_holds(start + digit))


CARDS = st.tuples(st.sampled_from(["4", "51", "2221"]), st.text("0123456789", min_size=14, max_size=14)).map(
    lambda parts: with_check_digit("".join(parts)[:15])
)
GROUPED = st.sampled_from(["", " ", "-"])


def german_iban(account: str) -> str:
    checked = next(check for check in range(2, 99) if iban_holds(f"DE{check:02}{account}"))
    return f"DE{checked:02}{account}"


IBANS = st.text("0123456789", min_size=18, max_size=18).map(german_iban)
EMAILS = st.builds(
    "{}@{}.{}".format,
    st.from_regex(r"[a-z][a-z0-9._+-]{0,10}[a-z0-9]", fullmatch=True),
    st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True),
    st.sampled_from(["org", "co.uk", "example"]),
)


def in_fours(text: str, separator: str) -> str:
    return separator.join(text[start : start + 4] for start in range(0, len(text), 4))


@settings(deadline=None)
@given(before=AROUND, card=CARDS, separator=GROUPED, after=BEHIND)
def test_every_card_number_is_masked(before: str, card: str, separator: str, after: str) -> None:
    """Three digits behind it may by chance make a longer number that is valid too; then they are hidden as well."""
    written = in_fours(card, separator)
    hidden = masked(f"{before}{written}{after}")
    assert hidden in (f"{before}[card]{after}", f"{before}[card]{after.removeprefix(' 123')}")


@settings(deadline=None)
@given(before=AROUND, iban=IBANS, separator=st.sampled_from(["", " "]), after=BEHIND)
def test_every_account_is_masked(before: str, iban: str, separator: str, after: str) -> None:
    assert masked(f"{before}{in_fours(iban, separator)}{after}") == f"{before}[iban]{after}"


@settings(deadline=None)
@given(before=AROUND, address=EMAILS, after=st.sampled_from(["", " ", "\n", ")", '"', ".", ", ok"]))
def test_every_address_is_masked(before: str, address: str, after: str) -> None:
    assert masked(f"{before}{address}{after}") == f"{before}[email]{after}"


@settings(deadline=None)
@given(text=st.text() | st.text("0123456789 -+@.aE[]()k_"))
def test_a_masked_text_has_nothing_left_to_mask(text: str) -> None:
    assert masked(masked(text)) == masked(text)
    assert bool(kinds_in(text)) == (masked(text) != text)


@settings(deadline=None)
@given(digits=DIGITS, place=st.integers(0, 30), other=st.integers(1, 9))
def test_luhn_finds_every_wrong_digit(digits: str, place: int, other: int) -> None:
    number = with_check_digit(digits)
    place %= len(number)
    wrong = number[:place] + str((int(number[place]) + other) % 10) + number[place + 1 :]
    assert luhn_holds(number)
    assert not luhn_holds(wrong)


@settings(deadline=None)
@given(iban=IBANS, place=st.integers(4, 21), other=st.integers(1, 9))
def test_an_account_with_a_wrong_digit_is_none(iban: str, place: int, other: int) -> None:
    assert not iban_holds(iban[:place] + str((int(iban[place]) + other) % 10) + iban[place + 1 :])
    assert not iban_holds(iban + "0")


@pytest.mark.parametrize(
    "key",
    [
        "sk-abcDEF1234567890abcdefgh",
        "sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2",
        "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-" + "123456789012-abcdefABCDEF",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\\nMIIEow\\n-----END PRIVATE KEY-----",
    ],
)
def test_keys_are_known_by_their_shape(key: str) -> None:
    assert masked(f"The key is {key}, keep it.") == "The key is [key], keep it."


def test_a_key_block_without_an_end_is_masked_to_the_end() -> None:
    assert masked("Here: -----BEGIN PRIVATE KEY-----\nMIIEow\nIBA") == "Here: [key]"


@pytest.mark.parametrize(
    "number",
    ["+44 20 7946 0958", "020 7946 0958", "(212) 555-0187", "212-555-0187", "+49 (0)30 901820", "06 12 34 56 78"],
)
def test_telephone_numbers_are_known_as_people_write_them(number: str) -> None:
    assert masked(f"Call {number}, please.") == "Call [phone], please."


@pytest.mark.parametrize(
    "text",
    [
        "on 1999-12-31 at 10:30:00 in 2019 2020 2021 2022",
        "01.02.2003 04:05",
        "ISBN 978-3-16-148410-0",
        "order 1442 2231 99 for 1,250,000.50",
        "4111 1111 1111 1112",
        "0.4111111111111111",
        "DE89 3704 0044 0532 0130 01",
        "sk-learn-contrib-imbalanced-learn",
        "@ann and a@b",
        "x = a[10] @ b[200]",
    ],
)
def test_what_only_looks_like_one_is_left(text: str) -> None:
    assert masked(text) == text
    assert kinds_in(text) == ()
