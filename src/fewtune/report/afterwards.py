"""What was trained after the choice, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from fewtune.report import words
from fewtune.report.summary import RefitLine, Summary


def trained_rows(summary: Summary) -> int:
    """Rows that the kept model has learnt from."""
    return summary.refit.rows if is_refitted(summary) and summary.refit else summary.data.train_rows


def is_refitted(summary: Summary) -> bool:
    """Whether the kept model is the refit."""
    return summary.refit is not None and summary.refit.state == "finished"


def lines(summary: Summary) -> Iterator[str]:
    if summary.refit and is_refitted(summary):
        yield _refitted(summary, summary.refit)
    elif summary.refit:
        yield f"The training on all rows failed, so the chosen trial is kept: {summary.refit.failure}"
    if summary.more_data:
        yield summary.more_data.sentence + _sizes(summary)


def _refitted(summary: Summary, refit: RefitLine) -> str:
    judged = "it is the one compared with the base" if summary.systems else "nothing has measured it"
    average = f" {refit.average}" if refit.average else ""
    return (
        f"Kept is the chosen plan trained once more, for {words.counted(int(refit.plan['epochs']), 'epoch')} on all "
        f"{words.counted(refit.rows, 'row')} that judge nothing. It has no validation loss of its own (those above are "
        f"the chosen trial's, before it); {judged}.{average}"
    )


def _sizes(summary: Summary) -> str:
    if summary.more_data is None or not summary.more_data.sizes:
        return ""
    told = (
        f"{words.loss(sum(one.losses) / len(one.losses))} with {words.count(one.rows)}"
        for one in summary.more_data.sizes
    )
    return f" Validation loss by training rows: {', '.join(told)}."
