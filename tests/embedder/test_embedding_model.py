"""The prepared model gives the vectors its authors' model gives, nearly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.embedder.model import Model

TEXTS = [
    "The cat sits on the mat.",
    "A feline rests on a rug.",
    "Deploy keys are rotated on the first Monday of every month by whoever is on call.",
    "Quarterly revenue fell by three percent, which nobody had expected after such a spring.",
    "猫坐在垫子上。",
    "Wir haben uns für PostgreSQL entschieden, weil die Daten relational sind.",
]


def vectors(packed: list[bytes]) -> NDArray[np.float32]:
    return np.array([np.frombuffer(vector, "<f4") for vector in packed])


def test_vectors_have_unit_length_and_the_stated_dimensions(model: Model) -> None:
    found = vectors(model.embed_documents(TEXTS))

    assert (len(TEXTS), 384) == found.shape
    assert model.dimensions == 384
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_like_meanings_are_near_and_unlike_ones_far(model: Model) -> None:
    cat, feline, market = vectors(
        model.embed_documents(["The cat sits on the mat", "A feline rests on a rug", "The stock market fell sharply today"])
    )

    assert cat @ feline > 0.5
    assert cat @ market < 0.15


def test_a_text_in_a_batch_gets_the_very_vector_it_gets_alone(model: Model) -> None:
    """Texts of several tenants may share a batch, and none may leave a trace in another's vector."""
    assert model.embed_documents(TEXTS) == [model.embed_documents([text])[0] for text in TEXTS]
    assert model.embed_query(TEXTS) == [model.embed_query([text])[0] for text in TEXTS]


def test_a_query_longer_than_the_model_reads_is_its_beginning(model: Model) -> None:
    beginning = "where do we keep the deploy keys " * 60

    assert model.embed_query([beginning]) == model.embed_query([beginning + "unrelated " * 100_000])


def test_texts_without_words_have_vectors_too(model: Model) -> None:
    assert [len(model.embed_documents([text])[0]) for text in ["", " \n", "\x00", "\u0301"]] == [384 * 4] * 4
