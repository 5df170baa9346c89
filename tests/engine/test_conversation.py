"""The rules of a conversation, without a socket: what an honest server says passes, and nothing else raises but a breach."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import ErrorCode, Hello, Reply, ReplyError
from engine.protocol.conversation import Breach, Conversation, decode_error, decode_result
from engine.protocol.limits import CONTAINERS_MAX
from engine.protocol.weight import exceeds, is_too_heavy

encode = msgspec.msgpack.encode
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10) | st.integers(0, 9), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["id", "result", "error", "chunk", "end", "hello", "going_away", "news"]),
    VALUES | st.sampled_from([0, 1, 2, 3, True, {"code": "lost", "message": "x"}, {"service": "x"}]),
)


def greeted() -> Conversation:
    conversation = Conversation()
    conversation.receive(encode(Reply(hello=Hello(service="test"))))
    conversation.asked(1)
    conversation.asked(2, stream=True)
    return conversation


def say(conversation: Conversation, **fields: Any) -> Any:
    return conversation.receive(encode(fields))


@given(st.lists(st.binary(max_size=64) | FIELDS.map(encode), max_size=12))
def test_whatever_a_server_says_is_an_answer_or_a_breach(frames: list[bytes]) -> None:
    conversation = greeted()
    answers = 0
    for frame in frames:
        try:
            answer = conversation.receive(frame)
        except Breach:
            break
        if answer is not None and answer.id == 1:
            answers += 1

    assert answers <= 1


@given(st.binary(max_size=200) | VALUES.map(encode), st.sampled_from([int, str, list[int], dict[str, Any], Hello, Any]))
def test_whatever_is_in_an_answer_is_a_value_or_a_breach(raw: bytes, result_type: Any) -> None:
    try:
        decode_result(msgspec.Raw(raw), result_type)
    except Breach as breach:
        assert "can't be read" in str(breach)


@given(
    st.text(max_size=30), st.text(max_size=2000), st.dictionaries(st.text(max_size=40) | st.just("field"), VALUES, max_size=30)
)
def test_whatever_an_error_says_is_sober_in_the_end(code: str, message: str, details: dict[str, Any]) -> None:
    error = decode_error(msgspec.Raw(encode(ReplyError(code, message, details))))

    assert error.code in ErrorCode
    assert len(error.message) <= 1000
    assert error.message.isprintable()
    assert len(error.details) <= 16
    for name, value in error.details.items():
        assert name.isascii()
        assert name.replace("_", "a").isalpha()
        assert isinstance(value, str | int | float | None)
        assert value == value  # noqa: PLR0124  which NaN is not


def test_an_honest_conversation() -> None:
    conversation = greeted()

    assert say(conversation, id=2, chunk="a").chunk is not msgspec.UNSET
    assert say(conversation, id=1, result=None).result is not msgspec.UNSET
    assert say(conversation, id=2, chunk="b", news="from a newer version").chunk is not msgspec.UNSET
    assert say(conversation, id=2, end=True).end
    assert say(conversation, going_away=True).going_away


def test_the_answer_to_who_does_not_wait_any_more_is_no_breach() -> None:
    conversation = greeted()

    assert conversation.leave(1)
    assert conversation.leave(2)
    assert not conversation.leave(3)
    assert say(conversation, id=1, result=1) is None
    assert say(conversation, id=2, chunk=1) is None
    assert say(conversation, id=2, error={"code": "x", "message": ""}) is None
    with pytest.raises(Breach):
        say(conversation, id=2, end=True)


@pytest.mark.parametrize(
    "said",
    [
        [{"id": 3, "result": 1}],
        [{"id": -1, "result": 1}],
        [{"id": 1, "result": 1}, {"id": 1, "result": 1}],
        [{"id": 1, "error": {"code": "x", "message": ""}}, {"id": 1, "result": 1}],
        [{"id": 1, "chunk": 1}],
        [{"id": 1, "end": True}],
        [{"id": 1}],
        [{"id": 1, "result": 1, "end": True}],
        [{"id": 2, "result": 1}],
        [{"id": 2, "chunk": 1}, {"id": 2, "end": True}, {"id": 2, "chunk": 1}],
        [{"id": 2, "chunk": 1, "end": True}],
        [{"going_away": True}] * 16,
        [{"hello": {"service": "x" * 5000}}],
        [{"hello": {"pending_embeddings": 0.5}}],
    ],
)
def test_a_breach(said: list[dict[str, Any]]) -> None:
    conversation = greeted()
    for fields in said[:-1]:
        say(conversation, **fields)
    with pytest.raises(Breach):
        say(conversation, **said[-1])


@pytest.mark.parametrize("said", [{"id": 1, "result": 1}, {"going_away": True}, {}])
def test_a_greeting_comes_first(said: dict[str, Any]) -> None:
    conversation = Conversation()
    conversation.asked(1)
    with pytest.raises(Breach):
        say(conversation, **said)


@pytest.mark.parametrize(
    ("what", "heavy"),
    [(b"\x90", True), (b"\x80", True), (b"\x91\x90", True), (b"\xdc\x00\x00", True), (b"\xd9\x03aa\x90", False)],
)
def test_an_answer_of_nothing_but_lists_is_too_heavy(what: bytes, heavy: bool) -> None:
    count = 15_000_000 // len(what)
    data = b"\xdd" + count.to_bytes(4, "big") + what * count

    assert is_too_heavy(data) == heavy


def test_a_heavy_answer_is_not_decoded() -> None:
    with pytest.raises(Breach):
        decode_result(msgspec.Raw(b"\xdd" + (CONTAINERS_MAX + 1).to_bytes(4, "big") + b"\x90" * (CONTAINERS_MAX + 1)), Any)


def test_text_in_any_script_is_not_heavy() -> None:
    """Half the bytes of Chinese text look like lists."""
    data = encode([{"content": "记忆是" * 7000}] * 240)

    assert len(data) > 15_000_000
    assert not is_too_heavy(data)


@given(st.lists(VALUES, max_size=20), st.integers(0, 100))
def test_weighing_counts_as_decoding_does(values: list[Any], limit: int) -> None:
    """Whatever its form, a value is stepped over exactly: the lists and objects counted are those that are there."""
    data = encode(values)

    assert exceeds(data, containers=limit, values=10**9) == (_containers(msgspec.msgpack.decode(data)) > limit)


def _containers(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_containers, value.values()))
    return 1 + sum(map(_containers, value)) if isinstance(value, list | tuple) else 0
