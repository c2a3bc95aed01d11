"""Hand a run's tuned model to others, and make sure that what they get answers as it does here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune import providers
from fewtune.bases.folder import locate, open_encoder
from fewtune.data.encode import Encoder
from fewtune.data.read import read
from fewtune.errors import UsageError
from fewtune.experiment.answering import scoring
from fewtune.experiment.display import export_html
from fewtune.providers.contract import BASE, Score, Workspace
from fewtune.providers.refusal import answered
from fewtune.report.summary import Summary
from fewtune.types import Example

if TYPE_CHECKING:
    from fewtune.engine.export import Written

Scores = Sequence[Sequence[float]]
"""Nats of each token of the answer and its stop, row by row."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far the exported model is from the trained one, as one reader scores the held-out rows."""

    reader: str
    """`fewtune`, or `llama.cpp` where llama-cpp-python is installed."""
    mean: float
    """Mean |difference of log-likelihood| of a token, in nats."""
    largest: float
    allowed: float
    """A mean above it would have been an error."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A tuned model, ready to be used elsewhere."""

    format: str
    folder: Path
    files: tuple[str, ...]
    rows: int
    """Held-out rows that were scored again."""
    tokens: int
    effect: float
    """How far tuning itself moved a token's log-likelihood, in nats, on the mean."""
    drifts: tuple[Drift, ...]

    def _repr_html_(self) -> str:
        return export_html(self)


def export(summary: Summary, model: str, format: str, out: Path) -> Export:
    """Write the model of a run to the folder `out`, then score the held-out rows from what was written.

    Raises UsageError for a run whose weights are elsewhere and for an `out` that is taken, BaseModelError for a
    base that the format cannot hold, ExportDrift when the written model answers otherwise; then `out` is not made.
    """
    from fewtune.engine import export as exports
    from fewtune.engine.drift import allowed, measure_drift

    adapter, rows = _adapter(summary), _held_out(summary)
    base, recipe = locate(summary.base), summary.settings.get("recipe")
    with exports.aside(out) as (filled, scraps):
        written = exports.write(format, base, adapter, f"{base.name}-{summary.id}", filled, scraps, recipe=recipe)
        trained, bare = _scores(summary.base, adapter.parent / "trials", (model, BASE), rows, recipe)
        effect = measure_drift(bare, trained).mean
        limit = allowed(written.tolerance, effect)
        drifts = tuple(_drifts(written, trained, rows, open_encoder(summary.base, recipe), limit))
        files = tuple(sorted(path.name for path in filled.iterdir()))
    return Export(
        format=format,
        folder=out.expanduser().resolve(),
        files=files,
        rows=len(rows),
        tokens=sum(map(len, trained)),
        effect=effect,
        drifts=drifts,
    )


def _adapter(summary: Summary) -> Path:
    if not providers.kind(summary.provider).local_base or "adapter" not in summary.files:
        raise UsageError(
            f"The weights of this run are not on this machine: it was trained with --provider {summary.provider}.",
            fix="Only what was trained with --provider local can be exported.",
        )
    from fewtune.engine.checkpoint import is_whole

    folder = Path(summary.files["adapter"])
    if not is_whole(folder):
        raise UsageError(
            "The run's adapter is damaged or gone.",
            where=str(folder),
            fix=f"Make it again: remove the folder, then fewtune resume {summary.id}.",
        )
    return folder


def _held_out(summary: Summary) -> tuple[Example, ...]:
    path = Path(summary.files["test"])
    rows = read(str(path)).examples if path.exists() and path.stat().st_size else ()
    if not rows:
        raise UsageError(
            "The run has no held-out rows, and without them nothing says whether an export is right.",
            where=str(path),
            fix="Make a run that keeps some: --test 8.",
        )
    return rows


def _scores(
    base: str, folder: Path, models: Sequence[str], rows: Sequence[Example], recipe: str | None
) -> Iterator[Scores]:
    """By each of the models; the base is in memory only meanwhile."""
    provider = providers.connect("local", Workspace(base=base, examples={}, folder=folder, recipe=recipe))
    requests = [scoring(row) for row in rows]
    for model in models:
        replies = answered(provider.sample(model, requests))
        found = {one.id: one.log_likelihoods for one in replies if isinstance(one, Score)}
        yield [found[row.row] for row in rows]


def _drifts(
    written: Written, trained: Scores, rows: Sequence[Example], encoder: Encoder, limit: float
) -> Iterator[Drift]:
    """By every reader that is there; raises ExportDrift for one that is too far off."""
    from fewtune.engine.drift import check_drift, measure_drift

    for reader, exported in _readings(written, rows, encoder):
        found = measure_drift(trained, exported)
        check_drift(found, limit, reader)
        yield Drift(reader=reader, mean=found.mean, largest=found.largest, allowed=limit)


def _readings(written: Written, rows: Sequence[Example], encoder: Encoder) -> Iterator[tuple[str, Scores]]:
    from fewtune.engine import llama_cpp

    if written.as_base:
        for scores in _scores(str(written.as_base), written.as_base, (BASE,), rows, encoder.recipe):
            yield "fewtune", scores
    if written.gguf and llama_cpp.can_score():
        yield "llama.cpp", llama_cpp.log_likelihoods(written.gguf, encoder, rows)
