"""Every error that fewtune raises on purpose.

FewtuneError                what, where, what to do; `exit_code` is the command line's answer
  x UsageError          2   an option, a setting or a path that cannot be used
    + OccupiedError     2   the run's folder belongs to something else, or is in use
    + QuotaError        2   a project has as much as it may have
  x DataError           3   the user's rows
  x TrainingError       4   training could not go on
    + BaseModelError    4   the base is missing, unsafe or of an unknown kind
      + ChatTemplateError 3  its chat template cannot put rows into text
  x ProviderError       5   a service or the network said no
  x BudgetError         6   it would cost more than was allowed
  x UnfinishedError     7   stopped on the way; run again to resume
  x LostLease           7   another worker holds the job
  x InterruptedByUser 130   Ctrl-C; everything is saved
"""

from __future__ import annotations

from pathlib import Path


class FewtuneError(Exception):
    """Base of the tree: one sentence of what went wrong, where, and what to do next."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.fix}" if self.fix else ""
        return f"{place}{self.what}{advice}"


class UsageError(FewtuneError):
    """An option, a setting or a path that cannot be used as given."""

    exit_code = 2


class OccupiedError(UsageError):
    """A folder that belongs to another run, or a run that another process holds."""


class QuotaError(UsageError):
    """A project has as many waiting jobs, or bytes of files, as it may have."""


class DataError(FewtuneError):
    """Something in the user's rows; `where` is `file:line` wherever a line is known."""

    exit_code = 3


class TrainingError(FewtuneError):
    """Training could not start or could not go on."""

    exit_code = 4


class BaseModelError(TrainingError):
    """The base model is missing, unsafe to load, or of a kind that cannot be adapted."""


class ChatTemplateError(BaseModelError):
    """The base's chat template cannot put rows into text, or tries what a template may not."""

    exit_code = 3


class ProviderError(FewtuneError):
    """A hosted service or the network refused; the service's own words are in `what`."""

    exit_code = 5


class BudgetError(FewtuneError):
    """Going on would cost more time or money than the user allowed."""

    exit_code = 6


class UnfinishedError(FewtuneError):
    """Stopped before the end with everything saved; the same command resumes."""

    exit_code = 7


class LostLease(FewtuneError):
    """A worker was too late: its job was given to another one, or has ended. Nothing was written."""

    exit_code = 7


class InterruptedByUser(FewtuneError):
    """Ctrl-C, noticed at a point where everything is saved."""

    exit_code = 130


def from_os_error(error: OSError, doing: str, path: Path | None = None) -> FewtuneError:
    """Translate the operating system's refusals into the tree, at the edge where they happen."""
    import errno

    where = str(path or error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UnfinishedError(
            f"The disk is full: could not {doing}.",
            where=where,
            fix="Free some space and run the same command again: it resumes.",
        )
    reason = error.strerror or type(error).__name__
    return UsageError(f"Could not {doing}: {reason}.", where=where, fix="Check the path and its permissions.")
