from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.scripted_service import ScriptedService
from service.web import Web


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedService]:
    service = ScriptedService(tmp_path_factory.mktemp("service"))
    yield service
    service.stop()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    service = Web(tmp_path_factory.mktemp("web"))
    yield service
    service.stop()
