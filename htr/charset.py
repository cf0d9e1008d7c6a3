"""Floor 0: text to class ids and back. Id 0 is the CTC blank and the padding of labels, id 1 the end of a word."""

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

BLANK = 0
END = 1
_FIRST = 2


def normalize(text: str) -> str:
    """The one place where text gets its Unicode form (NFC).

    >>> len("e\\u0301"), len(normalize("e\\u0301"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", text)


class Charset:
    """The characters that a reader can write, in a fixed order.

    >>> charset = Charset("cab")
    >>> charset.encode("abba").tolist(), charset.num_classes
    ([2, 3, 3, 2], 5)
    >>> charset.decode([4, 2, 3])
    'cab'
    """

    def __init__(self, characters: str):
        if normalize(characters) != characters:
            raise ValueError(f"The alphabet {characters!r} is not in Unicode form NFC; pass it through htr.normalize.")
        if not characters:
            raise ValueError("The alphabet is empty; give at least one character.")
        self.characters = "".join(sorted(set(characters)))
        self._ids = {character: i for i, character in enumerate(self.characters, start=_FIRST)}

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "Charset":
        """The characters that occur in texts."""
        return cls("".join(sorted(set().union(*(normalize(text) for text in texts)))))

    @property
    def num_classes(self) -> int:
        """Characters, the blank and the end of a word."""
        return len(self.characters) + _FIRST

    def missing(self, text: str) -> str:
        """The characters of text that are outside the alphabet, each once.

        >>> Charset("abc").missing("cabin")
        'in'
        """
        return "".join(dict.fromkeys(c for c in normalize(text) if c not in self._ids))

    def encode(self, text: str) -> np.ndarray:
        """text -> ids (length,) int32. ValueError names characters outside the alphabet."""
        if missing := self.missing(text):
            raise ValueError(
                f"{text!r} holds {missing!r}, which the alphabet of {len(self.characters)} characters lacks; "
                "train with these characters or correct the text."
            )
        return np.array([self._ids[c] for c in normalize(text)], dtype=np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """ids of characters -> text. ValueError where an id is no character's (blank, end, too large)."""
        if any(not _FIRST <= i < self.num_classes for i in ids):
            raise ValueError(
                f"ids {list(ids)} hold one outside {_FIRST}..{self.num_classes - 1}; decode characters only."
            )
        return "".join(self.characters[i - _FIRST] for i in ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charset) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Charset({self.characters!r})"
