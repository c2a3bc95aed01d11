"""Ask a model outside the run: what is paid is kept, what costs too much is not asked, and failing stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from fewtune.cost import prices
from fewtune.cost.answers import FREE, AnswerRate, answer_rate
from fewtune.errors import BudgetError, ProviderError, UsageError
from fewtune.experiment.interruption import Interruption
from fewtune.experiment.progress import Answering, Note, Watch
from fewtune.report.words import counted
from fewtune.store.runs import ReplyRecord, Runs

if TYPE_CHECKING:
    from fewtune.providers.outside_model import OutsideModel, Said

Purpose = Literal["reference", "judge"]

_AT_A_TIME = 4
"""Questions under way at once."""
_PATIENCE = 2
"""Batches of which nothing was answered before the model is given up."""
_TOKENS_AROUND = 64
"""At most so many tokens are put around a request by a service."""


@dataclass(frozen=True, kw_only=True)
class Question:
    id: int
    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int
    tools: tuple[Any, ...] = ()
    temperature: float = 0.0
    seed: int = 0

    def most_tokens_read(self) -> int:
        """A token of a text is at least a byte of it."""
        return len(json.dumps([self.messages, self.tools], ensure_ascii=False).encode()) + _TOKENS_AROUND


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A model outside the run that was found fit to be asked; made by `outside`."""

    purpose: Purpose
    model: OutsideModel
    rate: AnswerRate | None
    """None where the price is not known, and any price was allowed."""


def outside(purpose: Purpose, name: str | None, address: str | None, limit: float | None) -> Outside | None:
    """The model that was named, None where none was; called before anything is trained, and sends nothing.

    Raises UsageError for an address that is none, or that names no model, ProviderError where a key is missing, and
    BudgetError for a model that costs money where no limit was given or its price is not known.
    """
    if name is None:
        if address is not None:
            raise UsageError(f"--{purpose}-url names an address, but no model.", fix=f"Name it with --{purpose} MODEL.")
        return None
    model = _open(purpose, name, address)
    rate = FREE if model.is_here else answer_rate(prices.load(), name)
    if limit is None and not model.is_here:
        raise BudgetError(
            f"Asking {name} at {model.host} costs money, and no budget was given.",
            fix="Say how much it may be with --budget-usd.",
        )
    if rate is None and limit != float("inf"):
        raise BudgetError(
            f"What {name} costs is not in the price table, so it cannot be held to --budget-usd {limit:g}.",
            fix="Allow any price with --budget-usd inf, or name a model that `fewtune prices` lists.",
        )
    return Outside(purpose=purpose, model=model, rate=rate)


def _open(purpose: Purpose, name: str, address: str | None) -> OutsideModel:
    from importlib.util import find_spec

    if find_spec("openai") is None:
        raise UsageError(
            f"The package 'openai', which --{purpose} needs, is not installed.",
            fix="Install it with: pip install 'fewtune[hosted]'.",
        )
    from fewtune.providers.outside_model import OutsideModel

    return OutsideModel(name, address, purpose)


@dataclass(kw_only=True)
class Inquiry:
    """All that one run asks of one model outside it."""

    outside: Outside
    store: Runs
    run_id: str
    left: float | None
    """Dollars that may still be spent; None sets no limit."""
    watch: Watch
    interruption: Interruption
    given_up: bool = False
    """Whether the model was silent for so long that it is asked nothing more."""

    def ask(self, questions: Sequence[Question]) -> dict[int, ReplyRecord]:
        """The replies by question, as far as they can be had; why some cannot is told once, as a note."""
        known = {one.question: one for one in self.store.replies(self.run_id) if one.purpose == self.outside.purpose}
        digests = {one.id: self._digest(one) for one in questions}
        wanted = {digests[one.id]: one for one in questions if digests[one.id] not in known}
        for one, said in self._answers(list(wanted.values())):
            known[digests[one.id]] = self._keep(digests[one.id], said)
        return {number: known[digest] for number, digest in digests.items() if digest in known}

    def _answers(self, wanted: Sequence[Question]) -> Iterator[tuple[Question, Said]]:
        if self.given_up:
            return
        answered, failures, silent = 0, list[ProviderError](), 0
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for start in range(0, len(wanted), _AT_A_TIME):
                batch = wanted[start : start + _AT_A_TIME]
                self.interruption.check()
                if not self._affords(batch):
                    self._tell_of_budget(len(wanted) - answered)
                    return
                said = list(zip(batch, pool.map(self._answer, batch), strict=True))
                found = [(one, answer) for one, answer in said if not isinstance(answer, ProviderError)]
                failures += [answer for _, answer in said if isinstance(answer, ProviderError)]
                answered, silent = answered + len(found), 0 if found else silent + 1
                yield from found
                self.watch(Answering(system=self.outside.purpose, done=answered, of=len(wanted)))
                if silent == _PATIENCE:
                    self.given_up = True
                    break
        if failures:
            self._tell_of_failures(failures[0], len(wanted) - answered)

    def _answer(self, one: Question) -> Said | ProviderError:
        try:
            return self.outside.model.ask(
                one.messages, tools=one.tools, max_tokens=one.max_tokens, temperature=one.temperature, seed=one.seed
            )
        except ProviderError as error:
            return error

    def _keep(self, digest: str, said: Said) -> ReplyRecord:
        rate = self.outside.rate
        usd = rate and rate.usd(said.prompt_tokens, said.tokens)
        reply = ReplyRecord(
            purpose=self.outside.purpose,
            question=digest,
            text=said.text,
            stop_reason=said.stop_reason,
            prompt_tokens=said.prompt_tokens,
            tokens=said.tokens,
            seconds=said.seconds,
            usd=usd,
        )
        self.store.put_reply(self.run_id, reply)
        if self.left is not None:
            self.left -= usd or 0.0
        return reply

    def _affords(self, batch: Sequence[Question]) -> bool:
        rate = self.outside.rate
        if rate is None or self.left is None:
            return True
        return sum(rate.usd(one.most_tokens_read(), one.max_tokens) for one in batch) <= self.left

    def _tell_of_budget(self, unasked: int) -> None:
        questions = counted(unasked, "more question")
        self.watch(Note(text=f"--budget-usd does not buy {questions} to the {self._named}."))

    def _tell_of_failures(self, first: ProviderError, missing: int) -> None:
        questions = counted(missing, "question")
        text = f"The {self._named} left {questions} without an answer, the first with: {first.what}"
        further = " and asks it nothing more" if self.given_up else ""
        self.watch(Note(text=f"{text.rstrip('.')}. The run goes on without{further}."))

    @property
    def _named(self) -> str:
        return f"{self.outside.purpose} {self.outside.model.name} at {self.outside.model.host}"

    def _digest(self, one: Question) -> str:
        told = [self.outside.model.name, self.outside.model.address, one.messages, one.tools]
        bounds = [one.max_tokens, one.temperature, one.seed]
        return sha256(json.dumps([*told, *bounds], sort_keys=True).encode()).hexdigest()


def spent(replies: Sequence[ReplyRecord]) -> float | None:
    """Dollars; None where one of them has no known price."""
    paid = [one.usd for one in replies if one.usd is not None]
    return sum(paid) if len(paid) == len(replies) else None
