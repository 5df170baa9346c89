"""What an engine says is passed on as its own, whole lines at a time, and not without end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from engine.voices import BURST_BYTES_MAX, LINE_BYTES_MAX, Voice

TENANT = "db_" + "a" * 20


class Mouth:
    """Both ends of an engine's pipe, and what came out of the fork server's standard output."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        reading, self.writing = os.pipe2(os.O_NONBLOCK)
        self.voice = Voice(TENANT, reading)
        self._capture = capture

    def say(self, said: bytes) -> list[dict[str, Any]]:
        while said:
            said = said[os.write(self.writing, said) :]
            assert self.voice.listen()
        return self.heard()

    def end(self) -> list[dict[str, Any]]:
        os.close(self.writing)
        self.writing = -1
        while self.voice.listen():
            pass
        return self.heard()

    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capture.readouterr().out.splitlines()]


@pytest.fixture
def mouth(capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Mouth]:
    mouth = Mouth(capfdbinary)
    yield mouth
    os.close(mouth.voice.pipe)
    if mouth.writing >= 0:
        os.close(mouth.writing)


def test_a_line_is_passed_on_with_all_it_says(mouth: Mouth) -> None:
    assert mouth.say(b'{"event":"engine_started","pid":7}\n') == [
        {"event": "engine_started", "pid": 7, "program": "engine", "tenant": TENANT}
    ]


def test_nobody_speaks_for_another(mouth: Mouth) -> None:
    forged = b'{"event":"key_revoked","program":"gateway","tenant":"db_bbbbbbbbbbbbbbbbbbbb"}\n'

    assert mouth.say(forged) == [{"event": "key_revoked", "program": "engine", "tenant": TENANT}]


@pytest.mark.parametrize(
    "said", [b"Fatal Python error", b'["a list"]', b'{"event":', b"[" * 5000, b"\xff\xfe", b'{"a":1}\r{"b":2}']
)
def test_what_is_no_line_of_our_log_is_a_text_that_was_said(mouth: Mouth, said: bytes) -> None:
    (line,) = mouth.say(said + b"\n")

    assert (line["event"], line["program"], line["tenant"]) == ("engine_said", "engine", TENANT)
    assert line["text"] == said.decode("utf-8", "replace")


def test_a_line_arrives_in_pieces(mouth: Mouth) -> None:
    assert mouth.say(b'{"event":') == []
    assert [line["event"] for line in mouth.say(b'"whole"}\n')] == ["whole"]


def test_the_last_words_need_no_line_break(mouth: Mouth) -> None:
    mouth.say(b"Segmentation fault")

    assert [line["text"] for line in mouth.end()] == ["Segmentation fault"]


def test_a_line_without_end_is_cut(mouth: Mouth) -> None:
    lines = mouth.say(b"x" * (3 * LINE_BYTES_MAX))

    assert lines
    assert all(len(line["text"]) <= LINE_BYTES_MAX for line in lines)


def test_who_says_too_much_is_cut_short_and_the_log_tells_how_much(mouth: Mouth) -> None:
    line = b'{"event":"' + b"x" * 1000 + b'"}\n'
    count = 4 * BURST_BYTES_MAX // len(line)
    heard = mouth.say(line * count) + mouth.end()
    dropped = sum(line.get("dropped_lines", 0) for line in heard)
    passed_on = sum("dropped_lines" not in line for line in heard)

    assert dropped > 0
    assert passed_on + dropped == count
    assert passed_on * len(line) < 2 * BURST_BYTES_MAX
