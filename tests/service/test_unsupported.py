from __future__ import annotations

import pytest

from service.scripted_service import ScriptedService


@pytest.mark.parametrize(
    "path",
    [
        "/embeddings",
        "/moderations",
        "/images/generations",
        "/audio/speech",
        "/batches",
        "/assistants",
        "/threads/t/runs",
    ],
)
def test_what_openai_has_and_nobody_has_here_is_said_clearly(scripted: ScriptedService, path: str) -> None:
    status, error = scripted.refused(path, {"model": "pocket", "input": "a"})
    assert (status, error["code"]) == (400, "unsupported_endpoint")
    assert error["message"].endswith(".")


def test_what_nobody_knows_is_not_found(scripted: ScriptedService) -> None:
    status, error = scripted.refused("/nothing", {})
    assert (status, error["code"]) == (404, "unknown_url")


def test_a_wrong_method_on_a_known_url_stays_one(scripted: ScriptedService) -> None:
    assert scripted.refused("/files/file-1/content", {})[0] == 405
