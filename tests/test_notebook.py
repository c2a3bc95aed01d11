"""The example notebook, from its first cell to its last, in a kernel as a reader would run it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


class Client(NotebookClient):
    """Runs a notebook and remembers which displays were shown and renewed."""

    def __init__(self, notebook: nbformat.NotebookNode, folder: Path) -> None:
        super().__init__(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
        self.shown: list[str] = []
        self.renewed: list[str] = []

    def process_message(self, msg: dict[str, Any], cell: nbformat.NotebookNode, cell_index: int) -> Any:
        seen = {"display_data": self.shown, "update_display_data": self.renewed}.get(msg["msg_type"])
        if seen is not None:
            seen.append(msg["content"].get("transient", {}).get("display_id", ""))
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Client:
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copy(EXAMPLES / "episodes.csv", folder)
    client = Client(nbformat.read(EXAMPLES / "fewtune.ipynb", as_version=4), folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FEWTUNE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        client.execute()
    return client


def outputs(client: Client, cell_id: str) -> list[nbformat.NotebookNode]:
    return next(cell for cell in client.nb.cells if cell.id == cell_id).outputs


def test_every_cell_runs_and_nothing_is_written_to_stderr(executed: Client) -> None:
    made = [output for cell in executed.nb.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in made if output.output_type == "error" or output.get("name") == "stderr"]


def test_findings_prices_and_the_comparison_are_shown_as_tables(executed: Client) -> None:
    for cell_id, told in (("check", "empty completion"), ("price", "this machine"), ("result", "few-shot")):
        (shown,) = outputs(executed, cell_id)
        assert "<table" in shown.data["text/html"] and told in shown.data["text/html"]


def test_a_run_renews_one_output_and_leaves_its_curves_in_it(executed: Client) -> None:
    (shown,) = outputs(executed, "train")
    assert "<svg" in shown.data["text/html"] and "✓ Training 3 trials" in shown.data["text/plain"]
    assert len(executed.shown) == 1
    assert set(executed.renewed) == set(executed.shown) and len(executed.renewed) >= 5


def test_the_notebook_says_what_the_tuned_model_writes_and_where_the_report_is(executed: Client) -> None:
    used = "".join(output.text for output in outputs(executed, "use"))
    assert "tuned: " in used and "base: " in used
    report = "".join(output.text for output in outputs(executed, "report"))
    assert Path(report.strip()).is_file()


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "fewtune.ipynb", as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
