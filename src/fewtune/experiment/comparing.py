"""Several finished runs, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewtune.errors import UsageError
from fewtune.experiment.face import open_run
from fewtune.report import html, runs_page, runs_tables
from fewtune.report.runs_comparison import RunsComparison, compare_runs
from fewtune.report.summary import Summary


@dataclass(frozen=True, kw_only=True)
class ComparedRuns:
    """What `compare` found; the first run is the one that the others are compared with."""

    summaries: tuple[Summary, ...]
    comparison: RunsComparison

    @property
    def verdict(self) -> str:
        return runs_tables.conclusion(self.comparison, self.summaries)

    def write_report(self, path: str | Path) -> Path:
        """One HTML file that needs nothing else; raises UsageError where it cannot be written."""
        written = Path(path)
        html.write_page(runs_page.render(self.comparison, self.summaries), written)
        return written

    def __repr__(self) -> str:
        return f"ComparedRuns({', '.join(run.id for run in self.comparison.runs)}: {self.verdict})"

    def _repr_html_(self) -> str:
        return runs_page.fragment(self.comparison, self.summaries)


def compare(*names: str) -> ComparedRuns:
    """Compare finished runs, each with the first one; a name is anything that `open_run` takes.

    Runs of the same data are compared row by row on the rows that both held out, others by their intervals.
    Raises UsageError for fewer than two runs, for one that is named twice, unknown or not finished.
    """
    if len(names) < 2:
        raise UsageError("Comparing takes two runs at least.", fix="All runs are listed by: fewtune runs.")
    summaries = tuple(open_run(name).summary for name in names)
    ids = [summary.id for summary in summaries]
    twice = next((run_id for run_id in ids if ids.count(run_id) > 1), None)
    if twice:
        raise UsageError(f"The run {twice} is named twice.", fix="Name each run once.")
    return ComparedRuns(summaries=summaries, comparison=compare_runs(summaries))
