"""What went wrong, for the log: where and of what kind, never in the error's own words, which may hold a prompt."""

from __future__ import annotations

import logging
import traceback

from fewtune.errors import UnfinishedError

_log = logging.getLogger("fewtune.service.worker")


def log_trouble(doing: str, error: BaseException) -> None:
    """The kinds of the error and of its causes, each with its frames; of a full disk, which is tried again and again,
    one line."""
    if isinstance(error, UnfinishedError):
        _log.error("%s failed: %s", doing, error.what)
        return
    chain: BaseException | None = error
    lines: list[str] = []
    while chain is not None:
        lines += [f"{type(chain).__module__}.{type(chain).__qualname__}", *traceback.format_tb(chain.__traceback__)]
        chain = chain.__cause__ or chain.__context__
    _log.error("%s failed: %s", doing, "\n".join(lines).rstrip())
