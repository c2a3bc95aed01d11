"""The official client's own tests, taken from its source archive, against a server that was started for them.

They are fetched from the package index and kept in pytest's cache, not in the repository.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.service.app import create_app
from fewtune.service.settings import ServiceSettings
from standin.service_process import ServiceProcess

NEWEST = "3.54.0"
OLDEST = "1.60.0"
"""Of late 2024: the first that the versions of httpx and pydantic allow which run here, give or take a few."""
_RESOURCES = (
    "fine_tuning",
    "test_files.py",
    "test_uploads.py",
    "uploads",
    "test_models.py",
    "test_completions.py",
    "chat",
)
_PART = ("fine_tuning/test_jobs.py", "test_files.py", "test_models.py", "test_completions.py")
_MOST_SECONDS = 600


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"), "--provider", "fake", "--conformance")
    yield running
    running.stop()
    log = running.log.read_text(encoding="utf-8")
    assert "unforeseen" not in log, log


@pytest.fixture(scope="module")
def cache(pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache
    return pytestconfig.cache.mkdir("openai-archives")


def test_a_part_of_the_tests_of_the_newest_client_passes(service: ServiceProcess, cache: Path) -> None:
    assert _passed(service, _archive(cache, NEWEST), _PART, "-k", "strict") >= 120


def test_a_server_that_takes_any_key_is_not_started_beyond_the_loopback(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes any key"):
        create_app(ServiceSettings(folder=tmp_path, host="0.0.0.0", conformance=True))


@pytest.mark.slow
def test_all_tests_of_the_newest_client_pass(service: ServiceProcess, cache: Path) -> None:
    assert _passed(service, _archive(cache, NEWEST), _RESOURCES) >= 720


@pytest.mark.slow
def test_all_tests_of_the_oldest_supported_client_pass(service: ServiceProcess, cache: Path) -> None:
    archive = _archive(cache, OLDEST)
    needed = cache / "respx"
    if not needed.exists():
        _pip("install", "--no-deps", "--target", str(needed), "respx==0.23.1")
    assert _passed(service, archive, _RESOURCES, "-p", "respx.plugin", also=needed) >= 370


def _passed(
    service: ServiceProcess, archive: Path, resources: tuple[str, ...], *more: str, also: Path | None = None
) -> int:
    """How many passed; fails where one did not."""
    where = [f"tests/api_resources/{resource}" for resource in resources]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "pytest_asyncio.plugin", "-o", "addopts="]
    # The archive's own client, whichever version is installed.
    path = os.pathsep.join(str(one) for one in (archive / "src", also) if one)
    environment = {**os.environ, "TEST_API_BASE_URL": service.address, "PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}
    # A dozen plugins that those tests do not ask for take longer to load than a test.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [*command, *where, *more], cwd=archive, env=environment, capture_output=True, text=True, timeout=_MOST_SECONDS
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout
    return int(found.group(1))


def _archive(cache: Path, version: str) -> Path:
    """The unpacked source archive."""
    folder = cache / f"openai-{version}"
    if not folder.exists():
        # Its build back end is here already for the newest; an older one names more.
        isolation = ["--no-build-isolation"] if version == NEWEST else []
        _pip("download", "--no-deps", "--no-binary", "openai", *isolation, "--dest", str(cache), f"openai=={version}")
        with tarfile.open(cache / f"{folder.name}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return folder


def _pip(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *words, "-q"], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"the package index cannot be reached: {reason}")
