from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standin.service_workers import Service, fake_settings, open_service

Open = Callable[..., Service]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a service with these settings; its workers end with the test."""
    services: list[Service] = []

    def make(**changed: Any) -> Service:
        services.append(open_service(fake_settings(tmp_path / "service", **changed)))
        return services[-1]

    yield make
    for service in services:
        service.stop()


@pytest.fixture
def service(opened: Open) -> Service:
    """Without a worker: a test starts the one that it needs."""
    return opened()
