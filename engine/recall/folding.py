"""Brings the many ways to write one letter to one: full-width and half-width forms, ligatures, ß, ø, points and tatweel.

Case and the accents of Latin letters are left to the tokenizer of the index, which does both. What is done here must never
change: the index forgets a memory's words by being told them once more, in years and under another Python. So nothing depends
on the interpreter's Unicode: characters are normalized where version 3.2 knew them, which Python keeps for domain names, and
every other rule is written out below. A test holds a checksum over all characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal
from unicodedata import ucd_3_2_0

_CANONICAL = (
    (0x00C0, 0x1BFF),
    (0x1E00, 0x1FFF),
    (0x2126, 0x212B),
    (0x3021, 0x30FF),
    (0xF900, 0xFAFF),
    (0xFB1D, 0xFB4F),
    (0xFE20, 0xFE23),
    (0x2F800, 0x2FA1D),
)
"""Where the letters are that Unicode 3.2 can write in two ways, composed or not, and the marks that they are composed with."""

_HANGUL_BASES = tuple(map(chr, range(0x1100, 0x1113)))
_HANGUL_JOINING = tuple(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))

_COMPATIBLE = (
    (0xFB00, 0xFB06),  # ﬁ and other Latin ligatures
    (0xFB50, 0xFDFB),  # Arabic letters as they look inside a word, from old PDFs
    (0xFE70, 0xFEFC),
    (0xFF01, 0xFFEE),  # full-width Latin, half-width katakana and hangul
    (0x1D400, 0x1D7FF),  # mathematical letters, used for 𝗯𝗼𝗹𝗱 where there is no bold
)
"""Characters that are another one in a different shape. All of NFKC would go too far: it makes one word of ``Foo™``, and
``word¹`` another word."""

_IGNORED = "\u00ad\u034f\u061c\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff\u0640"
"""Seen by no reader as part of a word: soft hyphen, joiners, direction marks, variation selectors, the Arabic stretch."""

_POINTS = ((0x0591, 0x05BD), (0x05BF, 0x05BF), (0x05C1, 0x05C2), (0x05C4, 0x05C5), (0x064B, 0x0652), (0x0670, 0x0670))
"""Vowel points of Hebrew and Arabic, written for children and scripture and left out by everyone else."""

_GREEK = ((0x0386, 0x03CE), (0x1F00, 0x1FFC))
"""Greek capitals are written without the accents that small letters have."""

_LETTERS = {
    "ß": "ss",
    "ẞ": "ss",
    "æ": "ae",
    "Æ": "ae",
    "œ": "oe",
    "Œ": "oe",
    "ø": "o",
    "Ø": "o",
    "ł": "l",
    "Ł": "l",
    "đ": "d",
    "Đ": "d",
    "ð": "d",
    "Ð": "d",
    "þ": "th",
    "Þ": "th",
    "ħ": "h",
    "Ħ": "h",
    "ı": "i",
    "ŋ": "n",
    "Ŋ": "n",
    "ς": "σ",
    "ё": "е",
    "Ё": "е",
    "أ": "ا",
    "إ": "ا",
    "آ": "ا",
    "ى": "ي",
    "ة": "ه",
}
"""What a writer without the right keyboard types instead. No decomposition of Unicode says so."""


def _shapes() -> dict[str, str]:
    shapes = dict.fromkeys(_IGNORED, "")
    forms: tuple[tuple[Literal["NFKC", "NFC"], tuple[tuple[int, int], ...]], ...] = (("NFKC", _COMPATIBLE), ("NFC", _CANONICAL))
    for form, blocks in forms:
        for code in _codes(blocks):
            usual = ucd_3_2_0.normalize(form, chr(code))
            if usual != chr(code):
                shapes[chr(code)] = "".join(character for character in usual if character not in _IGNORED)
    return shapes


def _plain_letters() -> dict[str, str]:
    letters = dict.fromkeys(map(chr, _codes(_POINTS)), "")
    for code in _codes(_GREEK):
        letters[chr(code)] = ucd_3_2_0.normalize("NFD", chr(code))[0]
    return {letter: plain for letter, plain in (letters | _LETTERS).items() if letter != plain}


def _composition() -> tuple[str, str]:
    """Return the characters that can be joined by one after them, and those that join or change places with one before."""
    bases, joining = set(_HANGUL_BASES), set(_HANGUL_JOINING)
    for code in _codes(_CANONICAL):
        character = chr(code)
        parts = ucd_3_2_0.normalize("NFD", character)
        if ucd_3_2_0.combining(parts[0]):
            joining.add(character)
        elif len(parts) > 1:
            bases.update((character, parts[0]))
            joining.update(parts[1:])
    return _class(bases - joining), _class(joining)


def _codes(blocks: tuple[tuple[int, int], ...]) -> Iterator[int]:
    for first, last in blocks:
        yield from range(first, last + 1)


def _class(characters: Iterable[str]) -> str:
    """Return characters as the inside of a regular expression's brackets, as ranges: ``re`` is slow with many single ones."""
    ranges: list[list[str]] = []
    for character in sorted(characters):
        if ranges and ord(ranges[-1][1]) + 1 == ord(character):
            ranges[-1][1] = character
        else:
            ranges.append([character, character])
    return "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in ranges)


_SHAPES = _shapes()
_PLAIN = _plain_letters()
_BASES, _JOINING = _composition()
_SHAPE = re.compile(f"[{_class(_SHAPES)}]")
_LETTER = re.compile(f"[{_class(_PLAIN)}]")
_COMPOSED = re.compile(f"[{_BASES}\uac00-\ud7a3]?[{_JOINING}]+")
_ATTACHED = f"{_JOINING}{_class(_IGNORED)}\uff9e\uff9f\uffc2-\uffdc"
_CLUSTER = re.compile(f"[^{_class(_SHAPES)}{_class(_PLAIN)}{_ATTACHED}]+(?![{_ATTACHED}])|.[{_ATTACHED}]*", re.DOTALL)


def normalize(text: str) -> str:
    """Return the text with each character in its usual shape, composed, and without those that nobody sees."""
    if text.isascii():
        return text
    return _COMPOSED.sub(_compose, _SHAPE.sub(_reshape, text))


def fold(text: str) -> str:
    """Return the normalized text with letters replaced by what a plain keyboard has for them."""
    if text.isascii():
        return text
    return _LETTER.sub(_simplify, normalize(text))


def fold_aligned(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return ``fold(text)``, and for each of its characters where in ``text`` it comes from: start and end."""
    places: list[tuple[int, int]] = []
    folded: list[str] = []
    for found in _CLUSTER.finditer(text):
        start, end = found.span()
        plain = fold(found[0])
        folded.append(plain)
        if plain == found[0]:
            places += zip(range(start, end), range(start + 1, end + 1), strict=True)
        else:
            places += [(start, end)] * len(plain)
    return "".join(folded), places


def _reshape(found: re.Match[str]) -> str:
    return _SHAPES[found[0]]


def _compose(found: re.Match[str]) -> str:
    return ucd_3_2_0.normalize("NFC", found[0])


def _simplify(found: re.Match[str]) -> str:
    return _PLAIN[found[0]]
