"""What a run searches and how: axes, searcher, rungs and folds, from its settings and its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fewtune import providers
from fewtune.bases.folder import width
from fewtune.data.split import Fold, folds
from fewtune.errors import UsageError
from fewtune.experiment.afterwards import Afterwards, afterwards
from fewtune.experiment.measuring import SCORES, Score
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rows import in_order
from fewtune.experiment.settings import RunSettings, Values
from fewtune.experiment.stopping import stopping
from fewtune.search.axis import FIELDS, Axis, Choices, RateKind, choices, parse_axis
from fewtune.search.budget import fewest_epochs, halving_epochs
from fewtune.search.folds import FOLDS, check_folds, default_folds
from fewtune.search.halving import Halving, Rung
from fewtune.search.prior import around, learning_rate_prior
from fewtune.search.searchers import GivenSearcher, GridSearcher, RandomSearcher, Searcher
from fewtune.search.space import Space, space
from fewtune.types import Example, Plan

SEARCHERS = ("grid", "quasi", "random", "tpe")
SETTINGS = {
    "epochs": "epochs",
    "batch_size": "batch_sizes",
    "learning_rate": "learning_rates",
    "rank": "rank",
    "prompt_loss_weight": "prompt_loss_weight",
    "adapt_top": "adapt_top",
    "seed": "seeds",
}
"""An axis by its name in a Plan, and the setting that holds it."""

GIVEN = "given"
"""In the place of a searcher, where the plans come from a cheap base."""
MOST_SENT = 2
"""Plans of a cheap base that are trained; of a service that bills one."""
_TRIALS = 16
_MULTIPLIER = 1.0
"""A service that bills is asked for one training by default, at its own rate."""
_USUAL_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    space: Space
    searcher: str
    seed: int
    wanted: int
    """Candidates to try, where no budget cuts them."""
    halving: Halving
    """With a single rung where everybody trains to the end."""
    folds: tuple[Fold, ...]
    """Ways of parting the rows that judge nothing; the first is what the rungs train on."""
    score: Score
    """What trials are chosen by."""
    afterwards: Afterwards
    screening: tuple[Example, ...] = ()
    """The rows of the first rung, where it takes a share of them."""
    note: str | None = None
    plans: tuple[Plan, ...] = ()
    """Those to train, where they were found elsewhere."""

    @property
    def stops_early(self) -> bool:
        return len(self.halving.rungs) > 1

    @property
    def rung_share(self) -> float:
        """Of the training rows, that the first rung takes; 1 is all."""
        return self.halving.rungs[0].share

    @property
    def repeats(self) -> int:
        """Trainings of each finalist after the rungs."""
        return len(self.folds) * len(self.space.seeds) - 1

    def epochs(self, candidates: int) -> int:
        """The most epochs that the search of so many candidates takes, with what is trained after it."""
        longest = replace(self.space.base_plan, epochs=self.halving.rungs[-1].epochs)
        searched = halving_epochs(self.halving, candidates, self.repeats if candidates > 1 else 0)
        return searched + self.afterwards.epochs(longest)

    def fewest_epochs(self, candidates: int) -> int:
        """The fewest epochs that it takes."""
        shortest = replace(self.space.base_plan, epochs=self.space.epochs[0])
        again = self.afterwards.refit_plan(shortest).epochs if self.afterwards.refit else 0
        repeats = self.repeats if candidates > 1 else 0
        return fewest_epochs(self.halving, candidates, shortest.epochs, repeats) + again

    def likely_epochs(self, candidates: int) -> float:
        """Midway: nobody knows before how early curves turn and how long the finalists are."""
        return (self.fewest_epochs(candidates) + self.epochs(candidates)) / 2

    def new_searcher(self, known: Iterable[tuple[Plan, float | None]] = ()) -> Searcher:
        """A searcher that has been told these plans, with their scores, in the order in which they were asked for."""
        made = self._searcher()
        for plan, score in known:
            made.tell(plan, score)
        return made

    def _searcher(self) -> Searcher:
        if self.plans:
            return GivenSearcher(self.plans)
        if self.searcher == "grid":
            return GridSearcher(self.space)
        if self.searcher == "tpe":
            from fewtune.search.tpe import TpeSearcher

            return TpeSearcher(self.space, self.seed)
        return RandomSearcher(self.space, self.seed, even=self.searcher == "quasi")


def search_plan(settings: RunSettings, prepared: Prepared) -> SearchPlan:
    """Raises UsageError for what the rows or the provider do not allow, with the nearest thing that they do."""
    if settings.search_on is not None:
        return _of_found_plans(settings, prepared)
    searched = space_of(settings, len(prepared.split.train))
    searcher = _searcher_name(settings, searched)
    wanted = _wanted(settings, searched, searcher)
    stops = stopping(settings, searched, searcher, wanted, prepared)
    return SearchPlan(
        space=searched,
        searcher=searcher,
        seed=settings.seed,
        wanted=wanted,
        halving=stops.halving,
        folds=_folds(settings, prepared, wanted),
        score=score_of(settings, prepared.task.kind),
        afterwards=afterwards(settings, prepared.split),
        screening=stops.screening,
        note=stops.note,
    )


def _of_found_plans(settings: RunSettings, prepared: Prepared) -> SearchPlan:
    """What training the plans of a cheap base will take, before they are known: as many, at the greatest length.

    What was typed for the search belongs to the cheap base. Here they are trained on one split, to their ends.
    """
    searched = space_of(replace(settings, learning_rates=(), searcher=None), len(prepared.split.train))
    count = 1 if providers.kind(settings.provider).bills else MOST_SENT
    plan = searched.candidate([0.5] * len(searched.axes))
    return SearchPlan(
        space=replace(searched, axes={}, seeds=searched.seeds[:1]),
        searcher=GIVEN,
        seed=settings.seed,
        wanted=count,
        halving=to_the_end(searched.epochs[-1]),
        folds=(Fold(train=prepared.split.train, judge=prepared.split.valid),),
        score=score_of(settings, prepared.task.kind),
        afterwards=afterwards(settings, prepared.split),
        plans=(plan,) * count,
    )


def to_the_end(epochs: int) -> Halving:
    """One rung, at the end: nobody is stopped."""
    return Halving(rungs=(Rung(epochs=epochs),), patience=None)


def score_of(settings: RunSettings, task: str) -> Score:
    """Raises UsageError for a score that there is not, or that the provider does not tell."""
    if settings.score not in ("auto", *SCORES):
        raise UsageError(f"There is no score {settings.score!r}.", fix=f"Choose one of: auto, {', '.join(SCORES)}.")
    if settings.score == "exact_match" and providers.kind(settings.provider).bills:
        raise UsageError("This service does not tell which rows were answered exactly.", fix="Use --score loss.")
    return "exact_match" if settings.score == "exact_match" else "loss"


def rate_kind(provider: str) -> RateKind:
    return "multiplier" if providers.kind(provider).bills else "absolute"


def read_axis(name: str, text: str, rate: RateKind) -> Values:
    """What was typed as a setting, checked."""
    return written(name, parse_axis(FIELDS[name], text, rate=rate))


def written(name: str, axis: Axis) -> Values:
    """The setting of an axis: whole numbers as such, a range as it is typed."""
    if isinstance(axis, Choices):
        return tuple(int(value) for value in axis.values) if FIELDS[name].whole else axis.values
    return f"{axis.low:g}..{axis.high:g} {axis.scale}"


def space_of(settings: RunSettings, rows: int) -> Space:
    """Axes with one value belong to the plan that all candidates share; `rows` is the number of training rows."""
    axes = _axes(settings, rows)
    first = Plan(
        base=settings.base,
        learning_rate=1.0,
        gradient_accumulation=settings.gradient_accumulation,
        averaged_checkpoints=settings.averaged_checkpoints,
        cooldown=settings.cooldown,
    )
    whole = space(first, axes, rows=rows, seed=settings.seed)
    fixed = {
        name: axis.values[0] for name, axis in whole.axes.items() if isinstance(axis, Choices) and not axis.values[1:]
    }
    return replace(
        whole,
        base_plan=whole.plan(fixed),
        axes={name: axis for name, axis in whole.axes.items() if name not in fixed},
    )


def _axes(settings: RunSettings, rows: int) -> Mapping[str, Axis]:
    found: dict[str, Axis] = {}
    for name, setting in SETTINGS.items():
        values: Values = getattr(settings, setting)
        if isinstance(values, str):
            found[name] = parse_axis(FIELDS[name], values, rate=rate_kind(settings.provider))
        elif name == "learning_rate" and not values:
            found[name] = Choices(values=default_rates(settings))
        elif values:
            found[name] = choices(FIELDS[name], values, rate=rate_kind(settings.provider))
    if settings.batch_sizes == RunSettings(data="").batch_sizes:
        found["batch_size"] = Choices(values=(min(_USUAL_BATCH, rows),))
    return found


def default_rates(settings: RunSettings) -> tuple[float, ...]:
    if not providers.kind(settings.provider).local_base:
        return (_MULTIPLIER,)
    return around(learning_rate_prior(width(settings.base)))


def _searcher_name(settings: RunSettings, searched: Space) -> str:
    name = settings.searcher or ("quasi" if searched.size is None else "grid")
    if name not in SEARCHERS:
        raise UsageError(f"There is no searcher {name!r}.", fix=f"Choose one of: {', '.join(SEARCHERS)}.")
    return name


def _wanted(settings: RunSettings, searched: Space, searcher: str) -> int:
    if settings.trials is not None and settings.trials < 1:
        raise UsageError(f"--trials has {settings.trials}, and a search has at least 1.", fix="Use --trials 1.")
    if searcher == "grid":
        GridSearcher(searched)
    size = searched.size
    asked = settings.trials or (size if searcher == "grid" and size else _TRIALS)
    return min(asked, size) if size else asked


def _folds(settings: RunSettings, prepared: Prepared, wanted: int) -> tuple[Fold, ...]:
    """The rungs' own split, then parts of its training rows that are judged instead; test rows are in none of them.

    All parts are about as large as the validation rows, so that a training on a fold is like one on the split.
    """
    split, bills = prepared.split, providers.kind(settings.provider).bills
    own, count = Fold(train=split.train, judge=split.valid), settings.folds
    if count == 0 or (count is None and (wanted < 2 or bills)):
        return (own,)
    if bills:
        raise UsageError("Folds need the loss of each row, which this service does not tell.", fix="Use --folds 0.")
    if count is not None:
        check_folds(count, len(split.train) + len(split.valid))
    others = (default_folds(len(split.valid)) if count is None else count) - 1
    parts = _parts(prepared, max(others, FOLDS - 1))[:others]
    return (own, *(Fold(train=in_order((*part.train, *split.valid)), judge=part.judge) for part in parts))


def _parts(prepared: Prepared, number: int) -> tuple[Fold, ...]:
    cluster = {row.row: one for row, one in zip(prepared.kept, prepared.clusters, strict=True)}
    rows = prepared.split.train
    clusters = [cluster[one.row] for one in rows]
    return folds(rows, prepared.task, k=number, seed=prepared.seed, clusters=clusters)
