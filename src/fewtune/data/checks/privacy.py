"""Secrets and personal data: shown masked, and masked by the repair."""

from __future__ import annotations

from fewtune.data.checks.finding import Finding, in_rows
from fewtune.data.checks.material import Material
from fewtune.data.masking import KINDS


def secret_key(rows: Material) -> Finding | None:
    """No task is to say a working key; whoever gets the model would get it as well."""
    return _kind(rows, "secret_key", recommended=True)


def card_number(rows: Material) -> Finding | None:
    """As with keys: a real card's number may not be kept in a model."""
    return _kind(rows, "card_number", recommended=True)


def iban(rows: Material) -> Finding | None:
    """Accounts, addresses and telephone numbers may be the very answer, as in what is read off an invoice."""
    return _kind(rows, "iban", recommended=False)


def email_address(rows: Material) -> Finding | None:
    return _kind(rows, "email_address", recommended=False)


def phone_number(rows: Material) -> Finding | None:
    return _kind(rows, "phone_number", recommended=False)


def _kind(rows: Material, code: str, *, recommended: bool) -> Finding | None:
    (kind,) = (kind for kind in KINDS if kind.code == code)
    severity = "warning" if recommended else "note"
    what = f"there is {kind.name}; the repair puts {kind.mask} in its place."
    return in_rows(code, severity, rows.private.get(code, ()), what, repair="mask", recommended=recommended)
