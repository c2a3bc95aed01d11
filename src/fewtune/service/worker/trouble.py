"""What went wrong, for the log."""

from __future__ import annotations

import logging
from typing import Any

from fewtune.errors import UnfinishedError
from fewtune.service.logs import telling

_log = logging.getLogger("fewtune.service.worker")


def log_trouble(message: str, error: BaseException, **told: Any) -> None:
    """The error's places; of a full disk, which is tried again and again, its sentence alone."""
    if isinstance(error, UnfinishedError):
        _log.error(message, extra=telling(**told, reason=error.what))
    else:
        _log.error(message, extra=telling(**told), exc_info=error)
