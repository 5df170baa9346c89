"""The ranking on a small corpus of our own: real FTS5 evidence, cosines written down as MiniLM gave them.

Each query is one that a simpler fusion gets wrong, or one that keywords or vectors must win. The figures on larger sets are in
engine/recall/DESIGN.md.
"""

from __future__ import annotations

import apsw
import pytest

from engine.recall.fusion import Candidate, Corpus, Mode, Ranked, fuse
from engine.recall.query import parse
from engine.recall.spread import Spread

MEMORIES = (
    "The office cat is called Biscuit and sleeps on the printer",
    "Standup moved to half past nine on weekdays",
    "Retry failed requests three times with growing pauses",
    "The crash report says error E4021 in the payment worker",
    "The crash report says error E4012 in the refund worker",
    "I cannot eat peanuts, they make my throat swell",
    "At work we drink coffee from the blue cups",
    "Dana talks about work at dinner",
    "Startup reads its flags in src/main.rs",
    "The main street is closed, drivers read the signs",
    "Our landlord raised the rent by eight percent",
    "We never deploy on Fridays",
)

COSINES = {
    "feline at work": (0.54, 0.09, -0.03, 0.1, 0.11, -0.03, 0.22, 0.26, 0.03, 0.08, 0.06, 0.09),
    "E4021": (0.08, 0.0, 0.04, 0.51, 0.46, -0.04, 0.02, 0.03, 0.03, 0.08, -0.03, 0.0),
    "what do we do about food allergy": (0.0, -0.02, -0.01, 0.0, 0.04, 0.41, 0.1, 0.06, 0.05, 0.0, -0.02, 0.0),
    "where is src/main.rs": (-0.03, 0.17, -0.01, 0.03, 0.03, -0.02, 0.04, -0.01, 0.53, 0.14, 0.01, 0.08),
    "when is the daily team sync": (0.08, 0.23, 0.01, 0.02, 0.04, -0.02, 0.11, 0.15, 0.1, 0.02, 0.0, 0.37),
}


def search(text: str, mode: Mode) -> list[Ranked]:
    """Do what the store does, with everything as a candidate."""
    index = apsw.Connection(":memory:")
    index.execute("CREATE VIRTUAL TABLE f USING fts5 (content, tags, tokenize = 'porter unicode61 remove_diacritics 2')")
    for number, content in enumerate(MEMORIES):
        index.execute("INSERT INTO f (rowid, content, tags) VALUES (?, ?, '[]')", (number, content))
    query = parse(text)
    bm25 = {row[0]: row[1] for row in index.execute("SELECT rowid, -bm25(f) FROM f WHERE f MATCH ?", (query.match,))}
    holders = [
        {row[0] for row in index.execute("SELECT rowid FROM f WHERE f MATCH ?", (match,))} for match in query.term_matches
    ]
    candidates = [
        Candidate(
            id=number,
            bm25=bm25.get(number, 0.0),
            matched=[position for position, ids in enumerate(holders) if number in ids],
            cosine=cosine,
        )
        for number, cosine in enumerate(COSINES[text])
    ]
    corpus = Corpus(
        memories=len(MEMORIES),
        document_frequencies=[len(ids) for ids in holders],
        spread=Spread.of(COSINES[text]),
    )
    return fuse(candidates, corpus, mode)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("feline at work", 0),  # "work" is a chance match twice over; bm25 / max + 0.7 cosine puts those first
        ("what do we do about food allergy", 5),
        ("E4021", 3),
        ("where is src/main.rs", 8),
    ],
)
def test_the_right_memory_comes_first_by_words_and_meaning(text: str, first: int) -> None:
    assert first == search(text, "hybrid")[0].id


def test_the_model_may_err_and_still_show_it_on_the_first_page() -> None:
    assert 1 in [entry.id for entry in search("when is the daily team sync", "hybrid")[:2]]


def test_an_exact_name_wins_clearly_over_one_like_it() -> None:
    first, second = search("E4021", "hybrid")[:2]

    assert (first.id, second.id) == (3, 4)
    assert first.keyword == 1.0
    assert second.keyword is None


def test_keyword_mode_shows_only_what_holds_a_word() -> None:
    assert {6, 7} == {entry.id for entry in search("feline at work", "keyword")}


def test_semantic_mode_shows_everything_in_the_order_of_the_cosines() -> None:
    cosines = [entry.cosine for entry in search("feline at work", "semantic")]

    assert sorted(COSINES["feline at work"], reverse=True) == cosines
