from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.attacks.attacked_service import AttackedService


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedService]:
    """Its folder is the only one in its parent, so that whatever else is found there came by an attack."""
    service = AttackedService(tmp_path_factory.mktemp("attacks") / "service")
    yield service
    service.stop()
