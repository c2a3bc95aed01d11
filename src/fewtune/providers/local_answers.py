"""Requests as the engine reads them, and what it writes in the contract's words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain

from fewtune.data.encode import Encoded, Encoder
from fewtune.data.token_texts import TokenTexts
from fewtune.engine import continuation, sampler
from fewtune.engine.base_model import BaseModel
from fewtune.engine.choosing import Choice
from fewtune.engine.continuation import Continuation, Piece, Prompt
from fewtune.engine.likelihood import measure_each
from fewtune.engine.lora import Adapter
from fewtune.errors import BaseModelError, ChatTemplateError, DataError, UsageError
from fewtune.providers.contract import Answer, Ask, Chunk, Reply, Request, Score, TokenChoice, Withdrawal
from fewtune.providers.refusal import refusal, without_model

_SCORED_TOGETHER = 256
"""Requests to score that are taken before the first is answered."""

AdapterOf = Callable[[str | None], Adapter | None]
"""By a request's model."""


class LocalAnswers:
    """The requests of one `sample`."""

    def __init__(self, base: BaseModel, adapter_of: AdapterOf) -> None:
        self._base = base
        self._adapter_of = adapter_of
        self._aside: deque[Reply] = deque()
        """What is told beside the sampler: scores and refusals."""
        self._tellings: dict[int, Telling] = {}
        """Of the answers that are being written."""

    def replies(self, asks: Iterable[Ask]) -> Iterator[Reply]:
        """Of a list, whose prompts are dealt out over the cores, or of an iterator, which may be alive."""
        if isinstance(asks, Sequence):
            yield from self._replies_to_all(asks)
            return
        for told in sampler.passes(self._base, self._live(asks)):
            yield from self._set_aside()
            yield from map(self._reply, told)

    def _replies_to_all(self, asks: Sequence[Ask]) -> Iterator[Reply]:
        requests = [ask for ask in asks if isinstance(ask, Request)]
        scored = [request for request in requests if request.score is not None]
        for first in range(0, len(scored), _SCORED_TOGETHER):
            self._score(scored[first : first + _SCORED_TOGETHER])
            yield from self._set_aside()
        prompts = [self._prompt(request) for request in requests if request.score is None]
        yield from self._set_aside()
        yield from map(self._reply, sampler.generate(self._base, [prompt for prompt in prompts if prompt]))

    def _live(self, asks: Iterable[Ask]) -> Iterator[Prompt | continuation.Withdrawal | None]:
        for ask in asks:
            if isinstance(ask, Withdrawal):
                yield continuation.Withdrawal(id=ask.id)
            elif ask is None:
                yield None
            elif ask.score is not None:
                self._score([ask])
            elif prompt := self._prompt(ask):
                yield prompt

    def _set_aside(self) -> Iterator[Reply]:
        while self._aside:
            yield self._aside.popleft()

    def _score(self, requests: Sequence[Request]) -> None:
        items = [item for request in requests if (item := self._scored(request))]
        self._aside += [
            Score(id=one.row, log_likelihoods=one.log_likelihoods, greedy=one.greedy)
            for one in measure_each(self._base, items)
        ]

    def _scored(self, request: Request) -> tuple[Encoded, Adapter | None] | None:
        """None where it is refused."""
        encoder = self._base.encoder
        with self._refusing(request):
            _check_text(request)
            adapter = self._adapter_of(request.model)
            encoded = encoder.scored(
                request.prompt,
                request.score or "",
                request.shots,
                messages=request.messages,
                tools=request.tools,
                row=request.id,
            )
            if len(encoded.ids) > encoder.context:
                raise ContextExceeded(len(encoded.ids), encoder.context)
            return encoded, adapter

    def _prompt(self, request: Request) -> Prompt | None:
        """None where it is refused."""
        encoder = self._base.encoder
        with self._refusing(request):
            _check_text(request)
            adapter = self._adapter_of(request.model)
            ids = _ids(encoder, request)
            if len(ids) >= encoder.context:
                raise ContextExceeded(len(ids), encoder.context)
            parted = request.shots and encoder.recipe == "completion"
            stop = request.stop + ((encoder.frame.delimiter.strip("\n"),) if parted else ())
            prompt = Prompt(
                id=request.id,
                ids=ids,
                max_tokens=request.max_tokens,
                adapter=adapter,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
                stop=stop,
                alternatives=request.alternatives,
                framed=request.framed,
            )
            self._tellings[request.id] = Telling(self._texts, encoder.lead if request.framed else "")
            return prompt

    @contextmanager
    def _refusing(self, request: Request) -> Generator[None, None, None]:
        """Let an error in the block be the end of this request alone."""
        try:
            yield
        except ContextExceeded as error:
            self._aside.append(refusal(request, "context_length_exceeded", error))
        except (DataError, ChatTemplateError) as error:
            self._aside.append(refusal(request, "invalid_prompt", error))
        except (UsageError, BaseModelError) as error:
            self._aside.append(without_model(request, error))

    @cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self._base.encoder.tokenizer)

    def _reply(self, told: Piece | Continuation) -> Reply:
        telling = self._tellings[told.id]
        if isinstance(told, Piece):
            return Chunk(id=told.id, text=told.text, choices=telling.add(told.choices))
        del self._tellings[told.id]
        return Answer(
            id=told.id,
            text=told.text,
            tokens=told.tokens,
            stop_reason=told.stop_reason,
            seconds=told.seconds,
            prompt_tokens=told.prompt_tokens,
            choices=telling.all,
        )


class ContextExceeded(DataError):
    """A prompt, with the answer that is to be scored, that the base cannot read."""

    def __init__(self, length: int, context: int) -> None:
        super().__init__(
            f"The prompt has {length} tokens; the base reads at most {context}.",
            fix="Shorten it, give fewer examples, or choose a base with a longer context.",
        )


class Telling:
    """The choices of one answer, as they are told."""

    def __init__(self, texts: TokenTexts, lead: str) -> None:
        self._texts = texts
        self._lead = lead
        """What of the frame is still to come before the answer's own text."""
        self.all: tuple[TokenChoice, ...] = ()

    def add(self, choices: Sequence[Choice]) -> tuple[TokenChoice, ...]:
        told = tuple(self._told(choice) for choice in choices)
        self.all += told
        return told

    def _told(self, choice: Choice) -> TokenChoice:
        text, lead = self._texts[choice.token], self._lead
        self._lead = lead.removeprefix(text) if lead.startswith(text) else ""
        return TokenChoice(
            text="" if self._lead else text.removeprefix(lead),
            log_likelihood=choice.log_likelihood or 0.0,
            alternatives=tuple((self._texts[token].removeprefix(lead), value) for token, value in choice.alternatives),
        )


def _ids(encoder: Encoder, request: Request) -> tuple[int, ...]:
    if not request.framed:
        return encoder.raw(request.prompt)
    return encoder.prompt(request.prompt, request.shots, messages=request.messages, tools=request.tools)


def _check_text(request: Request) -> None:
    texts = (request.prompt, request.tools or "", request.score or "", *chain.from_iterable(request.shots))
    for text in (*texts, *(turn.content for turn in request.messages or ())):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError("The prompt holds half a character (a lone surrogate).", fix="Send whole text.") from error
