"""The package as it is installed: a wheel that works without torch, and one face."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(out.glob("fewtune-*.whl"))


def test_the_wheel_carries_the_base_the_prices_and_the_page_and_nothing_of_the_workshop(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "fewtune/bases/pocket/model.safetensors",
        "fewtune/bases/pocket/tokenizer.json",
        "fewtune/bases/pocket/README.md",
        "fewtune/cost/prices.toml",
        "fewtune/evaluation/prose.txt",
        "fewtune/report/page.html.j2",
        "fewtune/py.typed",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("pretraining", "tests", "bench", "examples"))]


def test_the_built_in_base_is_at_most_16_mb(wheel: Path) -> None:
    assert zipfile.ZipFile(wheel).getinfo("fewtune/bases/pocket/model.safetensors").file_size <= 16_000_000


def test_the_wheel_installs_without_torch_and_prepares_data(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*install, "--constraint", ROOT / "constraints.txt", wheel], capture_output=True, text=True, check=False
    )
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("the package registry is not there")
    assert done.returncode == 0, done.stderr
    fewtune = tmp_path / "env" / "bin" / "fewtune"
    assert "prepare" in subprocess.run([fewtune, "--help"], capture_output=True, text=True, check=True).stdout
    out = tmp_path / "out"
    subprocess.run([fewtune, "prepare", ROOT / "examples" / "episodes.csv", "--out", out], check=True)
    assert (out / "train.jsonl").exists()
    refused = subprocess.run(
        [fewtune, "run", ROOT / "examples" / "episodes.csv"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "pip install 'fewtune[local]'" in refused.stderr


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, fewtune; print([m for m in sys.modules if m.startswith('fewtune.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_had() -> None:
    import fewtune

    for name in fewtune.__all__:
        assert getattr(fewtune, name) is not None


def test_what_begins_a_run_imports_nothing_that_only_draws_or_trains() -> None:
    slow = {"altair", "vl_convert", "torch"}
    code = f"import sys, fewtune.experiment.face, fewtune.experiment.run; print(*{slow} & {{*sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
