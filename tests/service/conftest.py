from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.scripted_service import ScriptedService


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedService]:
    service = ScriptedService(tmp_path_factory.mktemp("service"))
    yield service
    service.stop()
