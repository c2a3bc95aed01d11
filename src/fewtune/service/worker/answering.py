"""The questions of all peers: each is one number here, whoever asked it and however that peer called it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from fewtune.providers.contract import Answer, Chunk, Refusal, Reply, Score
from fewtune.service.worker import protocol
from fewtune.service.worker.connections import Peer
from fewtune.service.worker.protocol import Ask, Refused
from fewtune.service.worker.sampling import Sampling, SamplingFailed

MOST_WAITING = 256
_BUSY = "Too many questions are waiting for an answer."
_BROKEN = "The answer could not be written."

Send = Callable[[Peer, bytes], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    peer: Peer
    id: int
    sampling: Sampling


class Answering:
    """Takes questions to the base that they are for, and what it says back to whoever asked."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._numbered: dict[tuple[Peer, int], int] = {}
        self._samplings: dict[Sampling, int] = {}
        """How many questions each has."""

    @property
    def busy(self) -> bool:
        return bool(self._questions)

    @property
    def waiting(self) -> int:
        return sum(sampling.waiting for sampling in self._samplings)

    @property
    def writing(self) -> int:
        return len(self._questions) - self.waiting

    def ask(self, peer: Peer, ask: Ask, sampling: Sampling) -> None:
        if (peer, ask.id) in self._numbered:
            self.refuse(peer, ask.id, "bad_request", "This id is that of a question that is not answered yet.")
        elif self.waiting >= MOST_WAITING:
            self.refuse(peer, ask.id, "busy", _BUSY)
        else:
            number = next(self._numbers)
            self._questions[number] = _Question(peer, ask.id, sampling)
            self._numbered[peer, ask.id] = number
            self._samplings[sampling] = self._samplings.get(sampling, 0) + 1
            sampling.ask(replace(ask.request, id=number))

    def withdraw(self, peer: Peer, id: int) -> None:
        number = self._numbered.get((peer, id))
        if number is not None:
            self._questions[number].sampling.withdraw(number)

    def gone(self, peer: Peer) -> None:
        """Nobody is there to read the answers."""
        for asker, id in list(self._numbered):
            if asker is peer:
                self.withdraw(peer, id)

    def refuse(self, peer: Peer, id: int, code: str, text: str) -> None:
        self._send(peer, protocol.refusal_line(Refused(id=id, code=code, text=text)))

    def step(self) -> None:
        """One decoding step of each base that has questions."""
        for sampling in list(self._samplings):
            try:
                self._tell(sampling.step())
            except SamplingFailed as failed:
                for number in failed.ids:
                    question = self._closed(number)
                    self.refuse(question.peer, question.id, "server_error", _BROKEN)

    def refuse_all(self, text: str) -> None:
        """The end: whoever still waits is told."""
        for number in list(self._questions):
            question = self._closed(number)
            self.refuse(question.peer, question.id, "busy", text)

    def _tell(self, replies: Iterable[Reply]) -> None:
        """All pieces of a step in one line for each peer, before the answers that they belong to end."""
        pieces: dict[Peer, list[Chunk]] = {}
        ends: list[Answer | Score | Refusal] = []
        for reply in replies:
            if isinstance(reply, Chunk):
                question = self._questions[reply.id]
                pieces.setdefault(question.peer, []).append(replace(reply, id=question.id))
            else:
                ends.append(reply)
        for peer, told in pieces.items():
            self._send(peer, protocol.pieces_line(told))
        for reply in ends:
            self._end(reply)

    def _end(self, reply: Answer | Score | Refusal) -> None:
        question = self._closed(reply.id)
        if isinstance(reply, Answer):
            self._send(question.peer, protocol.answer_line(replace(reply, id=question.id)))
        elif isinstance(reply, Score):
            self._send(question.peer, protocol.score_line(replace(reply, id=question.id)))
        else:
            text = f"{reply.text} {reply.fix or ''}".strip()
            self.refuse(question.peer, question.id, reply.code, text)

    def _closed(self, number: int) -> _Question:
        question = self._questions.pop(number)
        del self._numbered[question.peer, question.id]
        self._samplings[question.sampling] -= 1
        if not self._samplings[question.sampling]:
            del self._samplings[question.sampling]
        return question
