"""Which queries are nothing but a quotation or an id."""

from __future__ import annotations

import pytest

from engine.recall.exact import is_exact


@pytest.mark.parametrize(
    "query",
    [
        '"the office cat"',
        "“two words”",
        "E4021",
        "src/main.rs",
        "RFC 9457",
        "a@b.co",
        "+31 20 555 0147",
        "LEDGER_DSN",
        "v3.2.18",
    ],
)
def test_ids_and_quotations_are_exact(query: str) -> None:
    assert is_exact(query)


@pytest.mark.parametrize(
    "query", ["the office cat", "where is src/main.rs", "RFC", 'who said "yes" to it', "", "cat?", "I am 43 years old"]
)
def test_sentences_and_plain_words_are_not(query: str) -> None:
    assert not is_exact(query)
