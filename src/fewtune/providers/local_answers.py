"""Requests as the engine reads them, and what it writes in the contract's words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import TypeVar

from fewtune.data.encode import Encoded
from fewtune.data.token_texts import TokenTexts
from fewtune.engine import continuation, sampler
from fewtune.engine.base_model import BaseModel
from fewtune.engine.continuation import Broken, Piece, Prompt, Told
from fewtune.engine.likelihood import measure_each
from fewtune.engine.lora import Adapter
from fewtune.errors import BaseModelError, ChatTemplateError, DataError, UsageError
from fewtune.providers.contract import Answer, Ask, Chunk, Refusal, Reply, Request, Score, Withdrawal
from fewtune.providers.local_choices import ToldChoices
from fewtune.providers.refusal import refusal, without_model

Ready = TypeVar("Ready")

_SCORED_TOGETHER = 256
"""Requests to score that are taken before the first is answered."""


class LocalAnswers:
    """The requests of one `sample`."""

    def __init__(self, base: BaseModel, adapter_of: Callable[[str | None], Adapter | None]) -> None:
        """`adapter_of` knows the adapter that a request's model stands for."""
        self._base = base
        self._adapter_of = adapter_of
        self._aside: deque[Reply] = deque()
        """What is told beside the sampler: scores and refusals."""
        self._choices: dict[int, ToldChoices] = {}
        """Of the answers that are being written."""

    def replies(self, asks: Iterable[Ask]) -> Iterator[Reply]:
        """Of a list, whose prompts are dealt out over the cores, or of an iterator, which may be alive."""
        if isinstance(asks, Sequence):
            yield from self._replies_to_all([ask for ask in asks if isinstance(ask, Request)])
            return
        for told in sampler.passes(self._base, self._live(asks)):
            yield from self._set_aside()
            yield from map(self._reply, told)

    def _replies_to_all(self, requests: Sequence[Request]) -> Iterator[Reply]:
        scored = [request for request in requests if request.score is not None]
        for first in range(0, len(scored), _SCORED_TOGETHER):
            self._score(scored[first : first + _SCORED_TOGETHER])
            yield from self._set_aside()
        prompts = [self._prompt(request) for request in requests if request.score is None]
        yield from self._set_aside()
        yield from map(self._reply, sampler.generate(self._base, [prompt for prompt in prompts if prompt]))

    def _live(self, asks: Iterable[Ask]) -> Iterator[sampler.Ask]:
        for ask in asks:
            if ask is None:
                yield None
            elif isinstance(ask, Withdrawal):
                yield continuation.Withdrawal(id=ask.id)
            elif ask.score is not None:
                self._score([ask])
            elif prompt := self._prompt(ask):
                yield prompt

    def _set_aside(self) -> Iterator[Reply]:
        while self._aside:
            yield self._aside.popleft()

    def _score(self, requests: Sequence[Request]) -> None:
        items = [item for request in requests if (item := self._unless_refused(request, self._scored))]
        measured = measure_each(self._base, items)
        self._aside += [Score(id=one.row, log_likelihoods=one.log_likelihoods, greedy=one.greedy) for one in measured]

    def _scored(self, request: Request) -> tuple[Encoded, Adapter | None]:
        encoded = self._base.encoder.scored(
            request.prompt,
            request.score or "",
            request.shots,
            messages=request.messages,
            tools=request.tools,
            row=request.id,
        )
        self._check_length(request, len(encoded.ids))
        return encoded, self._adapter(request)

    def _prompt(self, request: Request) -> Prompt | None:
        """None where it is refused."""
        prompt = self._unless_refused(request, self._asked)
        if prompt:
            self._choices[request.id] = ToldChoices(self._texts, self._base.encoder.lead if request.framed else "")
        return prompt

    def _asked(self, request: Request) -> Prompt:
        encoder = self._base.encoder
        if request.framed:
            ids = encoder.prompt(request.prompt, request.shots, messages=request.messages, tools=request.tools)
        else:
            ids = encoder.raw(request.prompt)
        self._check_length(request, len(ids) + 1)
        self._check_json(request)
        parted = request.shots and encoder.recipe == "completion"
        return Prompt(
            id=request.id,
            ids=ids,
            max_tokens=request.max_tokens,
            adapter=self._adapter(request),
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=request.stop + ((encoder.frame.delimiter.strip("\n"),) if parted else ()),
            alternatives=request.alternatives,
            framed=request.framed,
            json=request.json,
        )

    def _unless_refused(self, request: Request, ready: Callable[[Request], Ready]) -> Ready | None:
        """The request made ready for the engine; what stands in the way is the end of this request alone."""
        try:
            _check_text(request)
            return ready(request)
        except _RefusedError as error:
            self._aside.append(error.refusal)
        except (DataError, ChatTemplateError) as error:
            self._aside.append(refusal(request, "invalid_prompt", error))
        return None

    def _adapter(self, request: Request) -> Adapter | None:
        try:
            return self._adapter_of(request.model)
        except (UsageError, BaseModelError) as error:
            raise _RefusedError(without_model(request, error)) from error

    def _check_length(self, request: Request, length: int) -> None:
        context = self._base.encoder.context
        if length > context:
            error = DataError(
                f"The prompt has {length} tokens; the base reads at most {context}.",
                fix="Shorten it, give fewer examples, or choose a base with a longer context.",
            )
            raise _RefusedError(refusal(request, "context_length_exceeded", error))

    def _check_json(self, request: Request) -> None:
        """Compile what the answer is held to."""
        if request.json is None:
            return
        try:
            self._base.json_grammars.begin(request.json)
        except UsageError as error:
            raise _RefusedError(refusal(request, "unsupported", error)) from error
        except DataError as error:
            raise _RefusedError(refusal(request, "invalid_schema", error)) from error

    @cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self._base.encoder.tokenizer)

    def _reply(self, told: Told) -> Reply:
        if isinstance(told, Piece):
            return Chunk(id=told.id, text=told.text, choices=self._choices[told.id].add(told.choices))
        choices = self._choices.pop(told.id).all
        if isinstance(told, Broken):
            return Refusal(id=told.id, code="invalid_schema", text=told.text)
        return Answer(
            id=told.id,
            text=told.text,
            tokens=told.tokens,
            stop_reason=told.stop_reason,
            seconds=told.seconds,
            prompt_tokens=told.prompt_tokens,
            choices=choices,
        )


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _check_text(request: Request) -> None:
    turns = [turn.content for turn in request.messages or ()]
    for text in (
        request.prompt,
        request.tools,
        request.score,
        request.json,
        *turns,
        *chain.from_iterable(request.shots),
    ):
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise DataError("The prompt holds half a character (a lone surrogate).", fix="Send whole text.") from error
