"""Toy words: printed letters in a few sizes, enough to learn from in seconds."""

import io

import numpy as np

from tests.conftest import render_word

LETTERS = "abenlot"


def toy_dataset(count: int, *, seed: int = 0, writers: int = 8):
    """A Dataset of image, text, writer: words of 1 to 3 letters, some of them doubled."""
    from datasets import Dataset, Features, Image, Value

    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        text = "".join(rng.choice(list(LETTERS), rng.integers(1, 4)))
        data = io.BytesIO()
        render_word(text, size=int(rng.integers(24, 40))).save(data, "PNG")
        rows.append(
            {"image": {"bytes": data.getvalue(), "path": f"{i}.png"}, "text": text, "writer": f"w{i % writers}"}
        )
    features = Features({"image": Image(decode=False), "text": Value("string"), "writer": Value("string")})
    return Dataset.from_list(rows, features=features)
