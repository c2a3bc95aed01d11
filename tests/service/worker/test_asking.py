"""Questions through the worker's socket, on their own and while jobs train."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fewtune.service.worker.address import worker_socket
from fewtune.service.worker.protocol import LONGEST_LINE
from standin.service_workers import PROJECT, Asking, Service, chat_lines, fake_settings, open_service, wait_for

LONG = {"n_epochs": 30, "batch_size": 1, "learning_rate_multiplier": 0.0001}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = open_service(fake_settings(tmp_path_factory.mktemp("service")))
    service.start()
    path = worker_socket(service.settings.folder, 0)
    wait_for(lambda: True if path.exists() else None)
    yield service
    service.stop()


def test_an_answer_is_streamed_in_pieces_that_together_are_its_text(running: Service) -> None:
    with Asking(running) as asking:
        asking.ask(7, "one two three four")
        pieces: list[str] = []
        while "pieces" in (heard := asking.hear()):
            pieces += [text for id, text, *_ in heard["pieces"] if id == 7]
    (answer,) = heard["answers"]
    assert "".join(pieces) == answer["text"] == "one two three four"
    assert (answer["tokens"], answer["stop_reason"]) == (4, "stop")


def test_pieces_of_answers_that_are_written_side_by_side_share_a_line(running: Service) -> None:
    with Asking(running) as asking:
        text = " ".join(map(str, range(30)))
        asking.write(b"".join(_ask_line(id, text) for id in range(4)))
        most = ended = 0
        while ended < 4:
            heard = asking.hear()
            most = max(most, len(heard.get("pieces", [])))
            ended += len(heard.get("answers", []))
    assert most >= 3


def test_an_answer_streams_while_a_job_trains_and_neither_waits_for_the_other(running: Service) -> None:
    job = running.job(chat_lines(20), hyperparameters=LONG)
    running.wait_for_message(job, "Step 3/")
    with Asking(running) as asking:
        before = len(running.events(job))
        asking.ask(1, " ".join(map(str, range(100))), max_tokens=100)
        assert asking.end(1)["tokens"] == 100
        after = len(running.events(job))
    assert after > before
    assert running.record(job).state == "running"
    running.archive.jobs.cancel(PROJECT, job)
    running.wake()
    running.wait(job)


def test_scores_and_log_likelihoods_are_told(running: Service) -> None:
    with Asking(running) as asking:
        asking.ask(1, "a", score="b c")
        scored = asking.end(1)
    assert scored["kind"] == "scores" and len(scored["log_likelihoods"]) == len(scored["greedy"]) == 3


def test_a_model_that_is_not_there_is_refused_and_the_others_are_answered(running: Service) -> None:
    with Asking(running) as asking:
        asking.ask(1, "a", name="ft:pocket:x::none")
        asking.tell({"ask": 2, "model": {"name": "base", "base": "/no/such/base"}, "request": {"prompt": "a"}})
        asking.ask(3, "a b")
        assert asking.end(1)["code"] == "model_not_found"
        with Asking(running) as other:
            other.ask(3, "c d")
            assert other.end(3)["text"] == "c d"


def test_a_bad_line_is_answered_and_harms_nobody(running: Service) -> None:
    with Asking(running) as asking:
        asking.write(b"nonsense\n" + b'{"ask": 5}\n' + b"x" * (LONGEST_LINE + 10) + b"\n" + b'{"status": 9}\n')
        assert "error" in asking.hear()
        assert asking.hear()["refusals"][0] == {"id": 5, "code": "bad_request", "text": "An object is missing."}
        assert "too long" in asking.hear()["error"]
        assert asking.hear()["status"] == 9


def test_an_id_is_used_once_at_a_time(running: Service) -> None:
    with Asking(running) as asking:
        asking.write(_ask_line(1, " ".join(map(str, range(50)))) + _ask_line(1, "again"))
        codes = [one["code"] for _ in range(3) for one in asking.hear().get("refusals", [])]
        assert codes == ["bad_request"]
        assert asking.end(1)["text"].startswith("0 1")


def test_a_withdrawn_answer_ends_where_it_is(running: Service) -> None:
    with Asking(running) as asking:
        asking.write(_ask_line(1, " ".join(map(str, range(3000))), 3000))
        asking.hear()
        asking.tell({"withdraw": 1})
        answer = asking.end(1)
    assert answer["stop_reason"] == "withdrawn" and answer["tokens"] < 3000


def test_answers_that_nobody_waits_for_any_more_are_given_up(running: Service) -> None:
    with Asking(running) as asking:
        asking.write(_ask_line(1, " ".join(map(str, range(100_000))), 100_000))
        asking.hear()
    with Asking(running) as asking:
        wait_for(lambda: True if _status(asking)["writing"] == 0 else None, seconds=10)


def test_beyond_the_queue_a_question_is_refused_as_busy(running: Service) -> None:
    long = " ".join(map(str, range(20)))
    with Asking(running) as asking:
        asking.write(b"".join(_ask_line(id, long) for id in range(700)))
        codes: list[str] = []
        ended = 0
        while ended < 700:
            heard = asking.hear()
            codes += [one["code"] for one in heard.get("refusals", [])]
            ended += len(heard.get("refusals", [])) + len(heard.get("answers", []))
    assert codes and set(codes) == {"busy"}


def test_who_is_told_to_stop_ends_its_answers_first(opened: Callable[..., Service]) -> None:
    service = opened()
    service.start()
    wait_for(lambda: True if worker_socket(service.settings.folder, 0).exists() else None)
    with Asking(service) as asking:
        asking.write(_ask_line(1, " ".join(map(str, range(2000))), 2000))
        asking.hear()
        service.workers[0].terminate()
        assert asking.end(1)["tokens"] == 2000
    service.workers[0].join(30)
    assert service.workers[0].exitcode == 0


def test_two_bases_are_asked_and_trained_beside_each_other(opened: Callable[..., Service]) -> None:
    service = opened()
    service.start()
    jobs = [service.job(chat_lines(10, first=n), base=base, model=base) for n, base in ((0, "pocket"), (50, "other"))]
    names = [service.wait(job).fine_tuned_model for job in jobs]
    assert [name and name.split(":")[1] for name in names] == ["pocket", "other"]
    with Asking(service) as asking:
        for id, (base, name) in enumerate(zip(("pocket", "other"), names, strict=True)):
            asking.tell({"ask": id, "model": {"name": name, "base": base}, "request": {"prompt": "What?"}})
            assert asking.end(id)["kind"] == "answers"
        assert set(_status(asking)["bases"]) == {"pocket", "other"}


def test_only_the_user_may_open_the_socket(running: Service) -> None:
    mode = worker_socket(running.settings.folder, 0).stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_a_socket_whose_path_would_be_too_long_lies_in_a_folder_of_the_users_own(tmp_path: Path) -> None:
    path = worker_socket(tmp_path / ("x" * 120), 0)
    assert len(str(path)) <= 100
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path != worker_socket(tmp_path / ("y" * 120), 0) != worker_socket(tmp_path / ("y" * 120), 1)


def _ask_line(id: int, prompt: str, max_tokens: int = 128) -> bytes:
    request = {"prompt": prompt, "max_tokens": max_tokens}
    return json.dumps({"ask": id, "model": {"name": "base", "base": "pocket"}, "request": request}).encode() + b"\n"


def _status(asking: Asking) -> dict[str, object]:
    asking.tell({"status": 1})
    while "status" not in (heard := asking.hear()):
        pass
    return heard
