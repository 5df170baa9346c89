"""Questions that share no word with their memory find it by its meaning, while exact names are found by their letters.

Everything is real: FTS5, the model, the search that an engine runs. Around the memories asked for stand conversations, whose
turns hold many of the questions' words by chance. The floors are a little below what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.recall.query import parse
from tests.locomo import generated
from tests.recall.library import Library, Pair, pairs

PARAPHRASES = pairs("paraphrases.txt")
NAMES = pairs("exact_names.txt")
ASKED = (
    "what do you know about {}",
    "where did we mention {} before",
    "tell me everything concerning {}",
    "is there a note on {}",
)


@pytest.fixture(scope="module")
def library(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with Library.open(tmp_path_factory.mktemp("library"), models) as library:
        library.add_all(pair.content for pair in (*PARAPHRASES, *NAMES))
        with library.database.write_group():
            for sample in generated.conversations():
                for session, turns in sample["conversation"].items():
                    for turn in turns if isinstance(turns, list) else ():
                        metadata = {"session": f"{sample['sample_id']} {session}"}
                        library.add(f"{turn['speaker']}: {turn['text']}", metadata=metadata)
        yield library


@pytest.mark.parametrize("pair", PARAPHRASES, ids=lambda pair: pair.question)
def test_a_paraphrase_shares_no_word_with_its_memory(library: Library, pair: Pair) -> None:
    """As the index sees words: stemmed, without accents."""
    tokenize = library.database.tokenize
    asked = {token for term in parse(pair.question).terms for _, _, token in tokenize(term)}

    assert asked
    assert not asked & {token for _, _, token in tokenize(pair.content)}


def test_there_are_some_hundred_and_none_twice() -> None:
    assert len(PARAPHRASES) >= 300
    assert len({pair.content for pair in PARAPHRASES}) == len(PARAPHRASES)


@pytest.mark.parametrize(("mode", "floor"), [("auto", 0.91), ("hybrid", 0.91), ("semantic", 0.92)])
def test_paraphrases_are_among_the_first_five(library: Library, mode: str, floor: float) -> None:
    assert _share_found(library, PARAPHRASES, mode, first=5) >= floor


@pytest.mark.parametrize("mode", ["auto", "hybrid"])
@pytest.mark.parametrize("asked", ["{}", *ASKED])
def test_exact_names_come_first(library: Library, mode: str, asked: str) -> None:
    questions = [Pair(pair.content, asked.format(pair.question)) for pair in NAMES]

    assert _share_found(library, questions, mode, first=5) == 1.0
    assert _share_found(library, questions, mode, first=1) >= 0.97


def _share_found(library: Library, asked: list[Pair], mode: str, *, first: int) -> float:
    found = 0
    for pair in asked:
        hits = library.search(pair.question, mode=mode, limit=first)
        found += pair.content in [hit.memory.content for hit in hits if hit.memory is not None]
    print(f"{mode}: {found / len(asked):.3f} of {len(asked)} among the first {first}")
    return found / len(asked)
