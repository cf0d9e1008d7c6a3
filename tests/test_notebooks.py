"""Every notebook runs from top to bottom, and what is committed is what its .py half says."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_two_halves_agree(source):
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    stored = jupytext.read(source.with_suffix(".ipynb"))
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in stored.cells]
    assert any("image/png" in output.get("data", {}) for cell in stored.cells for output in cell.get("outputs", []))
    assert max(len(cell.source.splitlines()) for cell in notebook.cells if cell.cell_type == "code") <= 15
    NotebookClient(notebook, timeout=170, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
