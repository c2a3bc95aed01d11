"""Candidates from what did well so far: the tree-structured Parzen estimator, by optuna."""

from __future__ import annotations

import hashlib
import math
from importlib import import_module
from typing import Any

from fewtune.errors import UsageError
from fewtune.search.searchers import RandomSearcher
from fewtune.search.space import Space
from fewtune.types import Plan

STARTERS = 8
"""Candidates that are spread evenly before anything is modelled."""
_TRIES = 20
"""Proposals that may be known already, as they often are in a small space, before an evenly spread one is taken."""


class TpeSearcher:
    """Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011, on the unit cube of the space.

    Every proposal has a sampler of its own, seeded with the search's seed and the number of candidates before it, so
    that nothing but what was told is remembered. Scores are to be told in the order in which candidates were asked
    for. Needs optuna, which is imported here and nowhere else.
    """

    def __init__(self, space: Space, seed: int) -> None:
        try:
            self._optuna: Any = import_module("optuna")
        except ImportError:
            fix = 'Install it with: pip install "fewtune[search]", or search with --searcher quasi.'
            raise UsageError("TPE needs optuna, which is not installed.", fix=fix) from None
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self._space, self._seed = space, seed
        self._storage = self._optuna.storages.InMemoryStorage()
        self._study = self._optuna.create_study(storage=self._storage)
        self._cube = {name: self._optuna.distributions.FloatDistribution(0.0, 1.0) for name in space.axes}
        self._known: set[Plan] = set()
        self._scored: set[Plan] = set()
        self._starters = RandomSearcher(space, seed)

    def ask(self, count: int) -> tuple[Plan, ...]:
        asked: list[Plan] = []
        while len(asked) < count:
            plan = self._starter() if len(self._known) < STARTERS or not self._scored else self._proposal()
            if plan is None:
                break
            self.tell(plan, None)
            asked.append(plan)
        return tuple(asked)

    def tell(self, plan: Plan, score: float | None) -> None:
        self._starters.tell(plan, None)
        self._known.add(plan)
        if score is not None and plan not in self._scored:
            self._scored.add(plan)
            params = dict(zip(self._space.axes, self._space.units(plan), strict=True))
            value = score if math.isfinite(score) else math.inf
            create = self._optuna.trial.create_trial
            self._study.add_trial(create(params=params, distributions=self._cube, value=value))

    def _starter(self) -> Plan | None:
        return next(iter(self._starters.ask(1)), None)

    def _proposal(self) -> Plan | None:
        for attempt in range(_TRIES):
            plan = self._sampled(attempt)
            if plan not in self._known:
                return plan
        return self._starter()

    def _sampled(self, attempt: int) -> Plan:
        digest = hashlib.sha256(repr((self._seed, len(self._known), attempt)).encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        sampler = self._optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=0, multivariate=True, constant_liar=False
        )
        # Not `study.ask`: it would write down a trial that a search which goes on does not have. Loaded anew, since a
        # study remembers the trials that it read first.
        study = self._optuna.load_study(study_name=self._study.study_name, storage=self._storage)
        nobody = self._optuna.trial.create_trial(state=self._optuna.trial.TrialState.RUNNING)
        values = sampler.sample_relative(study, nobody, self._cube)
        return self._space.candidate([min(float(values[name]), 1 - 1e-12) for name in self._space.axes])
