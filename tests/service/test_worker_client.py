from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fewtune.providers.contract import Answer, Chunk, Request, TokenChoice
from fewtune.service.worker.protocol import Ask, Model, Refused, Wake
from fewtune.service.worker_client import Asking, Reply, Workers
from service.scripted_worker import Line, ScriptedWorker, say_after

POCKET = Model(base="pocket")

pytestmark = pytest.mark.asyncio


def question(prompt: str = "one two three", **values: object) -> Request:
    return Request(id=0, prompt=prompt, **values)  # type: ignore[arg-type]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def all_of(asking: Asking) -> list[Reply]:
    async with asyncio.timeout(10):
        return [reply async for replies in asking for reply in replies]


@asynccontextmanager
async def working(
    folder: Path, *scripts: Callable[[Line, Ask], object]
) -> AsyncIterator[tuple[Workers, list[ScriptedWorker]]]:
    """Workers with these scripts, and the web's side of them, connected."""
    doubles = [ScriptedWorker(folder / f"{n}.sock", script) for n, script in enumerate(scripts)]  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        for double in doubles:
            await stack.enter_async_context(double)
        workers = await stack.enter_async_context(Workers([double.path for double in doubles]))
        async with asyncio.timeout(10):
            while len(await workers.statuses()) < len(doubles):
                await asyncio.sleep(0.005)
        yield workers, doubles


async def silent(line: Line, ask: Ask) -> None:
    pass


async def test_pieces_come_in_order_and_then_the_answer(tmp_path: Path) -> None:
    async with working(tmp_path, say_after) as (workers, _):
        replies = await all_of(workers.ask(POCKET, [question()]))
    assert [reply.text for reply in replies[:-1] if isinstance(reply, Chunk)] == ["one", " two", " three"]
    last = replies[-1]
    assert isinstance(last, Answer)
    assert (last.text, last.tokens, last.prompt_tokens, last.stop_reason) == ("one two three", 3, 3, "stop")


async def test_what_is_asked_arrives_as_it_was_meant(tmp_path: Path) -> None:
    asked = question(temperature=0.5, seed=7, stop=("\n",), top_p=0.9, alternatives=2, framed=False, json="object")
    async with working(tmp_path, say_after) as (workers, (worker,)):
        await all_of(workers.ask(Model(name="ft:pocket:x::1", base="pocket"), [asked]))
    (ask,) = worker.asked
    assert ask.model == Model(name="ft:pocket:x::1", base="pocket")
    for name in ("prompt", "temperature", "seed", "stop", "top_p", "alternatives", "framed", "json", "max_tokens"):
        assert getattr(ask.request, name) == getattr(asked, name)


async def test_the_choices_of_a_piece_are_read(tmp_path: Path) -> None:
    choice = TokenChoice(text="\udce2", log_likelihood=-0.5, alternatives=(("a", -0.5), ("b", -1.5)))

    async def script(line: Line, ask: Ask) -> None:
        line.piece(ask, "", (choice,))
        line.answer(ask, "")

    async with working(tmp_path, script) as (workers, _):
        piece, answer = await all_of(workers.ask(POCKET, [question(alternatives=2)]))
    assert isinstance(piece, Chunk) and isinstance(answer, Answer)
    assert piece.choices == (choice,)


async def test_replies_of_several_questions_are_told_apart_by_place(tmp_path: Path) -> None:
    async with working(tmp_path, say_after) as (workers, _):
        replies = await all_of(workers.ask(POCKET, [question("a"), question("b"), question("c")]))
    assert {reply.id: reply.text for reply in replies if isinstance(reply, Answer)} == {0: "a", 1: "b", 2: "c"}


async def test_questions_go_to_the_worker_with_the_fewest(tmp_path: Path) -> None:
    async with (
        working(tmp_path, silent, silent) as (workers, doubles),
        workers.ask(POCKET, [question() for _ in range(6)]),
    ):
        await until(lambda: sum(len(double.asked) for double in doubles) == 6)
        assert [len(double.asked) for double in doubles] == [3, 3]


async def test_leaving_withdraws_what_has_no_answer_yet(tmp_path: Path) -> None:
    async def script(line: Line, ask: Ask) -> None:
        if ask.request.prompt == "quick":
            line.answer(ask, "done")

    async with working(tmp_path, script) as (workers, (worker,)):
        async with workers.ask(POCKET, [question("quick"), question("slow"), question("slow")]) as asking:
            await anext(asking)
        await until(lambda: len(worker.withdrawn) == 2)
        slow = [ask.id for ask in worker.asked if ask.request.prompt == "slow"]
        assert worker.withdrawn == slow


async def test_a_question_that_was_not_begun_goes_to_the_next_worker(tmp_path: Path) -> None:
    async def dies(line: Line, ask: Ask) -> None:
        line.die()

    async with working(tmp_path, dies, say_after) as (workers, doubles):
        replies = await all_of(workers.ask(POCKET, [question()]))
        assert [len(double.asked) for double in doubles] == [1, 1]
    assert isinstance(replies[-1], Answer)


async def test_an_answer_that_was_begun_is_not_begun_again(tmp_path: Path) -> None:
    async def dies_in_the_middle(line: Line, ask: Ask) -> None:
        line.piece(ask, "one")
        await line.writer.drain()
        await asyncio.sleep(0.05)
        line.die()

    async with working(tmp_path, dies_in_the_middle, say_after) as (workers, (_, other)):
        piece, end = await all_of(workers.ask(POCKET, [question()]))
        assert other.asked == []
    assert isinstance(piece, Chunk) and piece.text == "one"
    assert isinstance(end, Refused) and end.code == "worker_lost"


async def test_a_question_that_kills_its_worker_does_not_kill_all_of_them(tmp_path: Path) -> None:
    async def dies(line: Line, ask: Ask) -> None:
        line.die()

    async with working(tmp_path, dies, dies, dies, dies) as (workers, doubles):
        (end,) = await all_of(workers.ask(POCKET, [question()]))
        assert sum(len(double.asked) for double in doubles) == 2
    assert isinstance(end, Refused) and end.code == "worker_lost"


async def test_a_question_waits_for_a_worker_that_is_being_started(tmp_path: Path) -> None:
    worker = ScriptedWorker(tmp_path / "0.sock")
    async with Workers([worker.path]) as workers:
        asking = workers.ask(POCKET, [question()])
        await asyncio.sleep(0.1)
        async with worker:
            replies = await all_of(asking)
    assert isinstance(replies[-1], Answer)


async def test_a_question_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with Workers([tmp_path / "0.sock"], patience_seconds=0.05) as workers:
        (end,) = await all_of(workers.ask(POCKET, [question()]))
    assert isinstance(end, Refused) and end.code == "no_worker"


async def test_a_question_that_was_withdrawn_while_it_waited_is_never_asked(tmp_path: Path) -> None:
    worker = ScriptedWorker(tmp_path / "0.sock")
    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: trouble.append(context))
    async with Workers([worker.path], patience_seconds=0.1) as workers:
        async with workers.ask(POCKET, [question("left")]):
            pass
        await asyncio.sleep(0.2)
        async with worker:
            await until(lambda: bool(workers._connected()))
            await all_of(workers.ask(POCKET, [question("stayed")]))
    assert [ask.request.prompt for ask in worker.asked] == ["stayed"]
    assert trouble == []


async def test_a_refusal_ends_its_question_alone(tmp_path: Path) -> None:
    async def script(line: Line, ask: Ask) -> None:
        if ask.request.prompt == "long":
            line.refuse(ask, "context_length_exceeded", "Too long.")
        else:
            line.answer(ask, "fine")

    async with working(tmp_path, script) as (workers, _):
        first, second = sorted(
            await all_of(workers.ask(POCKET, [question("long"), question("short")])), key=lambda reply: reply.id
        )
    assert first == Refused(id=0, code="context_length_exceeded", text="Too long.")
    assert isinstance(second, Answer)


async def test_a_prompt_beyond_a_line_is_refused_here(tmp_path: Path) -> None:
    async with working(tmp_path, say_after) as (workers, (worker,)):
        (end,) = await all_of(workers.ask(POCKET, [question("x" * 2**20)]))
        assert worker.asked == []
    assert isinstance(end, Refused) and end.code == "context_length_exceeded"


async def test_a_worker_that_says_nonsense_is_connected_anew(tmp_path: Path) -> None:
    said: list[int] = []

    async def script(line: Line, ask: Ask) -> None:
        said.append(ask.id)
        if len(said) == 1:
            line.writer.write(b"nonsense\n")
        else:
            line.answer(ask, "fine")

    async with working(tmp_path, script) as (workers, _):
        (end,) = await all_of(workers.ask(POCKET, [question()]))
    assert isinstance(end, Answer)


async def test_all_workers_are_woken_and_tell_how_they_are(tmp_path: Path) -> None:
    async with working(tmp_path, silent, silent) as (workers, doubles):
        await workers.wake()
        await until(lambda: all(Wake() in double.heard for double in doubles))
        assert [status["bases"] for status in await workers.statuses()] == [["pocket"], ["pocket"]]


async def test_a_worker_that_is_gone_has_no_status(tmp_path: Path) -> None:
    async with working(tmp_path, silent) as (workers, (worker,)):
        await worker.stop()
        await until(lambda: not workers._connected())
        assert await workers.statuses() == []
