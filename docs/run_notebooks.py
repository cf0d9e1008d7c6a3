"""`make notebooks`: runs every notebooks/*.py from top to bottom and keeps it with its pictures as .ipynb beside it."""

from pathlib import Path

import jupytext
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


def main() -> None:
    for source in sorted(FOLDER.glob("*.py")):
        notebook = jupytext.read(source)
        place = {"metadata": {"path": str(FOLDER)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":  # what the backend says while it starts is no part of the notebook
                # TensorFlow warns on stdout where it is asked interactively
                kept = [output for output in cell.outputs if output.get("name") != "stderr"]
                cell.outputs = [o for o in kept if not str(o.get("text", "")).startswith("WARNING:tensorflow")]
        jupytext.write(notebook, source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
