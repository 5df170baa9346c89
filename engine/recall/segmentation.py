"""Makes words of scripts that put no space between them, so that any word inside a sentence is found.

A run of Chinese, Japanese, Korean, Thai, Lao, Khmer or Burmese becomes its pairs of neighbouring letters and its last letter:
``数据库`` is indexed as ``数据 据库 库``. Every letter then begins one token, so a word of two is one token, a longer one a
phrase, and a single letter a prefix. No dictionary is asked: it would change, and know no name. A mark that is written above,
below or after a letter belongs to it. The text between runs stays as it is.

Like ``engine.recall.folding`` it must never change, and so it names the characters itself.
"""

from __future__ import annotations

import re
from itertools import pairwise

from engine.recall.folding import fold

_MARKS = (
    "\u0300-\u036f\u3099\u309a"  # accents, and those of kana
    "\u0e31\u0e33-\u0e3a\u0e47-\u0e4e"  # Thai
    "\u0eb1\u0eb3-\u0ebc\u0ec8-\u0ecd"  # Lao
    "\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f"  # Burmese
    "\u17b4-\u17d3\u17dd"  # Khmer
)
LETTERS = (
    "\u2e80-\u2fd5\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3105-\u312f\u31a0-\u31bf"  # bopomofo
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb"  # hangul
    "\u0e01-\u0e30\u0e32\u0e40-\u0e46"
    "\u0e81-\u0eb0\u0eb2\u0ebd-\u0ec6\u0edc-\u0edf"
    "\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"
    "\u1780-\u17b3\u17d7\u17dc"
)

"""The letters of these scripts, for the brackets of a pattern."""

UNIT = f"[{LETTERS}][{_MARKS}]*"
"""The pattern of a letter with its marks; several make a run, whichever of these scripts they are of."""

_UNIT = re.compile(UNIT)
_MARK = re.compile(f"[{_MARKS}]")
_RUN = re.compile(f"(?:{UNIT})+")
_RUN_AT_THE_END = re.compile(f"(?<![{LETTERS}{_MARKS}])(?:{UNIT})+$")


def search_text(text: str) -> str:
    """Return a text as the tokenizer of the index should see it. What is ASCII stays untouched."""
    if text.isascii():
        return text
    return _RUN.sub(_indexed, fold(text))


def phrase(text: str) -> tuple[str, bool]:
    """Return a text as it must be looked for, and whether its last token is only the beginning of the index's.

    What ends with a run may go on in the index, where its last letter is then no token but the beginning of a pair.
    """
    folded = fold(text)
    last = _RUN_AT_THE_END.search(folded)
    if last is None:
        return search_text(folded), False
    letters = units(last[0])
    return f"{search_text(folded[: last.start()])} {' '.join(pairs(letters) or letters)}".lstrip(), len(letters) == 1


def runs(text: str) -> list[tuple[int, int]]:
    """Return where in a folded text the runs are, each from its start to its end."""
    return [] if text.isascii() else [found.span() for found in _RUN.finditer(text)]


def units(run: str) -> list[str]:
    """Return the letters of a run, each with its marks."""
    return _UNIT.findall(run) if _MARK.search(run) else list(run)


def pairs(letters: list[str]) -> list[str]:
    """Return each letter together with the one after it."""
    return [first + second for first, second in pairwise(letters)]


def _indexed(found: re.Match[str]) -> str:
    letters = units(found[0])
    return f" {' '.join([*pairs(letters), letters[-1]])} "
