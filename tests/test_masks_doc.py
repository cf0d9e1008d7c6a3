import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "masks.md").read_text(encoding="utf-8")
SECTIONS = {part.splitlines()[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
BLOCKS = [
    pytest.param(block, id=f"{title} {index}" if index else title)
    for title, part in SECTIONS.items()
    for index, block in enumerate(re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs_and_its_numbers_hold(block):
    exec(compile(block, "masks.md", "exec"), {"__name__": "masks"})


def test_each_of_the_fifteen_items_has_a_block():
    titles = [title for title, part in SECTIONS.items() if "```python" in part]
    assert [int(title.split(".")[0]) for title in titles if title[0].isdigit()] == list(range(1, 16))
