"""The pages are built without a warning, and every word of the API that they name exists."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_pages_are_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path / "html")]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    api = (tmp_path / "html" / "api.html").read_text(encoding="utf-8")
    assert "htr.transcriber.Transcriber.transcribe" in api and "htr.losses.masked_sparse_crossentropy" in api


def test_an_objective_can_be_added_as_the_page_says():
    import re

    import numpy as np

    from htr.objectives import OBJECTIVES

    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    before = dict(OBJECTIVES)
    try:
        exec(re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL).group(1), {})
        logits = np.random.default_rng(0).normal(size=(1, 5, 4)).astype("float32")
        given = (np.array([[2, 3]]), logits, np.ones((1, 5), bool))
        sharp, plain = (float(OBJECTIVES[name].loss(*given)[0]) for name in ("sharp-ctc", "ctc"))
        assert sharp != plain and OBJECTIVES["sharp-ctc"].factor == 1.5
    finally:
        OBJECTIVES.clear()
        OBJECTIVES.update(before)
