"""Which words of a vocabulary may have been meant by a word that is not in it.

The vocabulary holds stems. A stem is compared by the words that it may come from, and a word is only believed if it has that
stem: ``databse`` is one letter away from ``database``, whose stem is ``databas``.

It must not know where the vocabulary is. Whoever asks looks up what begins like ``beginnings`` says, and hands it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from string import ascii_lowercase

LETTERS_MIN = 4
"""Of three letters, each is a third of what is known: every second short word is a neighbour of some other."""

LETTERS_MAX = 32
LETTERS_FOR_TWO_EDITS = 8
"""From here on a word, and its stem, has so few neighbours that two slips of the finger still point to one."""

BEGINNING_LETTERS = 3
SUFFIXED_LETTERS_MIN = 6
"""A shorter stem is taken with an ending only if that ending was typed: else ``planet`` would be a slip for ``planed``."""

_SUFFIXES = (
    *("", "e", "s", "es", "y", "ed", "er", "ers", "ing", "ings", "ion", "ions", "ation", "ations", "ment", "ments", "ly", "al"),
    *("ally", "able", "ive", "ity", "ness", "ies", "ied", "ize", "izes", "ized", "or", "ors", "ic", "ical", "ance", "ence"),
)
_DOUBLING = ("ed", "er", "ers", "ing", "ings")
_SUFFIX_LETTERS_MAX = max(map(len, _SUFFIXES))


def edits_max(word: str) -> int:
    """Return how many slips a word of this kind may hold: none with a digit in it, for E4021 is not E4012."""
    if not LETTERS_MIN <= len(word) <= LETTERS_MAX or not word.isalpha():
        return 0
    return 1 if len(word) < LETTERS_FOR_TWO_EDITS else 2


def beginnings(word: str) -> Iterator[list[str]]:
    """Yield how the word that was meant may begin, in groups: those that are more likely and more quickly looked up first.

    Its first letter may have changed places with the second and is right otherwise: of wrong ones, most make another real word.
    """
    size = BEGINNING_LETTERS
    swapped = [word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(size)]
    shorter = [word[:at] + word[at + 1 :] for at in range(1, size)]
    likely = dict.fromkeys(other[:size] for other in (word, *swapped, *shorter))
    yield list(likely)
    letters = ascii_lowercase if word.isascii() else ""
    longer = [word[:at] + letter + word[at:] for at in range(1, size) for letter in letters]
    changed = [word[:at] + letter + word[at + 1 :] for at in range(1, size) for letter in letters]
    yield list(dict.fromkeys(other[: size + 1] for other in (*longer, *changed) if other[:size] not in likely))


def nearest(word: str, stems: Iterable[tuple[str, int]], stem_of: Callable[[str], str]) -> list[str]:
    """Return the words that are nearest to ``word``, all equally near; those that more memories hold first.

    ``stems`` come with how many memories hold them, ``stem_of`` is the stemmer that made them.
    """
    most = edits_max(word)
    own = stem_of(word)
    found: list[tuple[int, int, str]] = []
    for stem, frequency in stems:
        bound = min(most, 1 if len(stem) < LETTERS_FOR_TWO_EDITS else 2)
        if stem == own or not stem.isalpha() or not _may_begin(stem, word, bound):
            continue
        forms = (form for form in forms_of(stem) if abs(len(form) - len(word)) <= bound and _is_likely(form, stem, word))
        for distance, form in sorted((edits(word, form, bound), form) for form in forms):
            if distance > bound:
                break
            if stem_of(form) == stem:
                most = distance
                found.append((distance, -frequency, form))
                break
    return [form for distance, _, form in sorted(found) if distance == most]


def forms_of(stem: str) -> Iterator[str]:
    """Yield words that may have this stem, common ones first. The stemmer knows which of them do."""
    if stem.endswith("i"):
        yield f"{stem[:-1]}y"
    for suffix in _SUFFIXES:
        yield stem + suffix
        if suffix in _DOUBLING:
            yield stem + stem[-1] + suffix


def edits(first: str, second: str, most: int) -> int:
    """Return how many letters must be put in, left out, replaced or swapped with a neighbour; any number if over ``most``."""
    return _last_row(first, second, most)[-1]


def _may_begin(stem: str, word: str, most: int) -> bool:
    """Return whether any beginning of ``word`` is near to the stem. It sorts out nearly all, before a form is made of them."""
    if not len(word) - _SUFFIX_LETTERS_MAX <= len(stem) + most <= len(word) + 2 * most:
        return False
    return min(_last_row(stem.removesuffix("i"), word, most)) <= most


def _last_row(first: str, second: str, most: int) -> list[int]:
    """Return the edits from ``first`` to each beginning of ``second`` ("optimal string alignment"), or a row of too many."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for at, letter in enumerate(first):
        above, row = row, [at + 1]
        for column, other in enumerate(second):
            cost = min(row[column] + 1, above[column + 1] + 1, above[column] + (letter != other))
            if at and column and letter == second[column - 1] and first[at - 1] == other:
                cost = min(cost, before[column - 1] + 1)
            row.append(cost)
        if min(row) > most and (not at or min(above) > most):
            return [most + 1]
        before = above
    return row


def _is_likely(form: str, stem: str, word: str) -> bool:
    ending = form[len(stem) :]
    return not ending or len(stem) >= SUFFIXED_LETTERS_MIN or word.endswith(ending)
