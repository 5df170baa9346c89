"""The generated corpus is what the recall test takes it for."""

from __future__ import annotations

from tests.locomo import generated
from tests.locomo.corpus import from_conversations


def test_it_is_the_same_every_time() -> None:
    assert generated.conversations() == generated.conversations()


def test_every_question_has_its_evidence_in_its_own_conversation() -> None:
    corpus = from_conversations("generated", generated.conversations())

    assert len(corpus.memories) == 300
    assert len(corpus.questions) == 90
    for question in corpus.questions:
        for memory_id in question.evidence:
            assert corpus.memories[memory_id - 1]["workspace"] == question.workspace


def test_a_memory_is_one_turn_and_keeps_when_it_was_said() -> None:
    turns = [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hello."}, {"speaker": "Ben", "dia_id": "D1:2", "text": "Hi."}]
    conversation = {"session_1": turns, "session_1_date_time": "1:56 pm on 8 May, 2023"}
    sample = {"sample_id": "talk", "conversation": conversation, "qa": []}

    memory = from_conversations("one", [sample]).memories[1]

    assert memory["content"] == "Ben: Hi."
    assert memory["metadata"] == {"conversation": "talk", "session": "session_1", "dia_id": "D1:2"}
    assert memory["created_at"] == "2023-05-08T13:56:01.000000Z"
    assert memory["engram_cloud"] == {"event_time": "2023-05-08T13:56:00.000000Z"}


def test_evidence_joined_in_one_string_is_taken_apart_and_what_is_not_there_is_left_out() -> None:
    turns = [{"speaker": "Ann", "dia_id": f"D1:{number}", "text": "Hello."} for number in (1, 2)]
    conversation = {"session_1": turns, "session_1_date_time": "1:56 pm on 8 May, 2023"}
    asked = [{"question": "Both?", "evidence": ["D1:1; D1:2"]}, {"question": "None?", "evidence": ["D9:9"]}]
    corpus = from_conversations("one", [{"sample_id": "talk", "conversation": conversation, "qa": asked}])

    (question,) = corpus.questions

    assert question.evidence == {1, 2}
