"""An engine that was taken over: a real process behind real sockets, which says what the protocol does not allow.

``python -m tests.tenants.impostor ATTACK=SOCKET …`` listens at each socket and deals with whoever connects in the way of that
attack. An adversary, not a mock: it knows the protocol only to break it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.address import short_address
from engine.protocol import FrameDecoder
from tests.service import ROOT, wait_until

FRAME_BYTES_MAX = 16 * 1024 * 1024
LIE = 0xFFFFFFFF
SECRET = "ek_live_stolen /data/tenants/xx/control.db Traceback (most recent call last)"


class Victim:
    """A connection to whom the impostor deceives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = FrameDecoder()
        self._requests: list[dict[str, Any]] = []

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def frame(self, payload: bytes) -> None:
        """Send a well-formed frame of whatever."""
        self.raw(struct.pack(">I", len(payload)) + payload)

    def say(self, **fields: Any) -> None:
        """Send a reply."""
        self.frame(msgspec.msgpack.encode(fields))

    def greet(self, **fields: Any) -> None:
        """Greet as an engine does."""
        self.say(hello={"service": "engine", "protocol": 1} | fields)

    def asked(self) -> dict[str, Any]:
        """Wait for a request and return it; ``ConnectionError`` when there will be none."""
        while not self._requests:
            data = self._connection.recv(65536)
            if not data:
                raise ConnectionError
            self._requests += [msgspec.msgpack.decode(frame) for frame in self._decoder.feed(data)]
        return self._requests.pop(0)

    def answer(self, payload: bytes) -> None:
        """Answer each request with a result that is these bytes."""
        while True:
            request_id = msgspec.msgpack.encode(self.asked()["id"])
            self.frame(b"\x82\xa2id" + request_id + b"\xa6result" + payload)

    def fail(self, **error: Any) -> None:
        """Answer each request with this error."""
        while True:
            self.say(id=self.asked()["id"], error={"code": "invalid", "message": "no"} | error)

    def wait(self) -> None:
        """Say nothing more, and read nothing, until the other one has gone."""
        while True:
            time.sleep(3600)


Attack = Callable[[Victim], None]
GREETINGS: dict[str, Attack] = {}
ANSWERS: dict[str, Attack] = {}


def greeting(attack: Attack) -> Attack:
    """List what is done instead of a greeting."""
    GREETINGS[attack.__name__] = attack
    return attack


def answering(attack: Attack) -> Attack:
    """List what is done after a greeting as it should be."""

    def deal(victim: Victim) -> None:
        victim.greet()
        attack(victim)

    ANSWERS[attack.__name__] = deal
    return attack


@greeting
def garbage(victim: Victim) -> None:
    victim.raw(b"\xff" * 64)
    victim.wait()


@greeting
def another_protocol(victim: Victim) -> None:
    victim.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    victim.wait()


@greeting
def a_length_over_the_limit(victim: Victim) -> None:
    victim.raw(struct.pack(">I", FRAME_BYTES_MAX + 1) + bytes(100))
    victim.wait()


@greeting
def a_huge_length_and_nothing(victim: Victim) -> None:
    victim.raw(struct.pack(">I", FRAME_BYTES_MAX))
    victim.wait()


@greeting
def no_greeting(victim: Victim) -> None:
    victim.wait()


@greeting
def one_byte_a_second(victim: Victim) -> None:
    while True:
        victim.raw(b"\0")
        time.sleep(1)


@greeting
def the_end(victim: Victim) -> None:
    pass


@greeting
def an_answer_before_the_greeting(victim: Victim) -> None:
    victim.say(id=1, result={"memories": []})
    victim.wait()


@greeting
def farewell_without_a_greeting(victim: Victim) -> None:
    victim.say(going_away=True)
    victim.wait()


@greeting
def a_greeting_of_wrong_types(victim: Victim) -> None:
    victim.greet(pending_embeddings="many")
    victim.wait()


@greeting
def a_greeting_of_megabytes(victim: Victim) -> None:
    victim.greet(service="x" * 8_000_000)
    victim.wait()


@answering
def silence(victim: Victim) -> None:
    victim.wait()


@answering
def the_end_after_the_question(victim: Victim) -> None:
    victim.asked()


@answering
def the_end_within_a_frame(victim: Victim) -> None:
    victim.asked()
    victim.raw(struct.pack(">I", 1000) + bytes(10))


@answering
def half_a_frame(victim: Victim) -> None:
    victim.asked()
    victim.raw(struct.pack(">I", FRAME_BYTES_MAX) + bytes(FRAME_BYTES_MAX - 1))
    victim.wait()


@answering
def noise(victim: Victim) -> None:
    victim.asked()
    victim.raw(os.urandom(100_000))


@answering
def nested_arrays(victim: Victim) -> None:
    victim.answer(b"\x91" * 10_000 + b"\xc0")


@answering
def an_array_that_claims_the_world(victim: Victim) -> None:
    victim.answer(struct.pack(">BI", 0xDD, LIE))


@answering
def a_map_that_claims_the_world(victim: Victim) -> None:
    victim.answer(struct.pack(">BI", 0xDF, LIE))


@answering
def bytes_that_claim_the_world(victim: Victim) -> None:
    victim.answer(struct.pack(">BI", 0xC6, LIE))


@answering
def an_extension_that_claims_the_world(victim: Victim) -> None:
    victim.answer(struct.pack(">BIB", 0xC9, LIE, 1))


@answering
def millions_of_lists(victim: Victim) -> None:
    victim.answer(b"\x81\xa4some" + struct.pack(">BI", 0xDD, 15_000_000) + b"\x90" * 15_000_000)


@answering
def an_extension(victim: Victim) -> None:
    victim.answer(b"\x81\xa4some\xd4\x05x")


@answering
def text_that_is_no_text(victim: Victim) -> None:
    victim.answer(b"\x81\xa4some\xa3\xed\xa0\x80")


@answering
def another_type(victim: Victim) -> None:
    victim.answer(msgspec.msgpack.encode(["not", "an", "object"]))


@answering
def an_answer_to_nobody(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"] + 1000, result={})
    victim.wait()


@answering
def an_answer_to_a_negative_id(victim: Victim) -> None:
    victim.asked()
    victim.say(id=-1, result={})
    victim.wait()


@answering
def chunks_for_a_call(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"], chunk={})
    victim.wait()


@answering
def the_end_of_no_stream(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"], end=True)
    victim.wait()


@answering
def an_answer_of_nothing(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"])
    victim.wait()


@answering
def an_answer_of_everything(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"], result={}, error={"code": "invalid", "message": ""}, end=True)
    victim.wait()


@answering
def a_hundred_thousand_small_frames(victim: Victim) -> None:
    victim.asked()
    victim.raw((struct.pack(">I", 5) + b"\x81\xa2id\x00") * 100_000)
    victim.wait()


@answering
def greetings_for_ever(victim: Victim) -> None:
    while True:
        victim.greet(pending_embeddings=2**64 - 1)


@answering
def farewells_for_ever(victim: Victim) -> None:
    while True:
        victim.say(going_away=True)


@answering
def bytes_one_by_one(victim: Victim) -> None:
    victim.asked()
    while True:
        victim.raw(b"\0")
        time.sleep(0.2)


@answering
def an_error_of_megabytes(victim: Victim) -> None:
    victim.fail(message="<script>" * 1_000_000)


@answering
def an_error_nested_deep(victim: Victim) -> None:
    request_id = msgspec.msgpack.encode(victim.asked()["id"])
    victim.frame(b"\x82\xa2id" + request_id + b"\xa5error\x83\xa4code\xa1x\xa7message\xa1y\xa7details" + b"\x91" * 100_000)


@answering
def an_error_that_is_none(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"], error=None)
    victim.wait()


def _told(**error: Any) -> Attack:
    return lambda victim: (victim.greet(), victim.fail(**error))[-1]


LIES: dict[str, Attack] = {
    "a_code_nobody_knows": _told(code="own_the_gateway", message=SECRET),
    "a_code_only_clients_use": _told(code="broken", message=SECRET),
    "internal_with_a_secret": _told(code="internal", message=SECRET),
    "fields_that_override": _told(
        message="x",
        details={"status": 200, "type": "http://evil", "title": "Fine", "code": "ok", "detail": "Fine", "headers": {"X": "y"}},
    ),
    "lines_in_everything": _told(
        message="a\r\nSet-Cookie: x=1\r\n\r\n<html>", details={"field": "x\r\nY: z", "model": "m\r\n"}
    ),
    "a_wait_that_is_no_number": _told(code="unavailable", details={"retry_after": float("nan")}),
    "a_wait_of_words": _told(code="unavailable", details={"retry_after": "x\r\nEvil: 1"}),
    "a_wait_for_ever": _told(code="unavailable", details={"retry_after": 1e308}),
    "a_wait_backwards": _told(code="database_corrupt", details={"retry_after": -1}),
    "a_wait_that_is_a_list": _told(code="unavailable", details={"retry_after": [1, 2]}),
    "a_model_that_is_a_path": _told(code="wrong_model", details={"model": "../../../../etc/passwd\r\nx"}),
    "a_tree_of_details": _told(details={"field": {"a": [{"b": {}}] * 100}, "id": 10**18, "entry": [0]}),
}
"""Errors in the form of errors, which are lies."""

ATTACKS = GREETINGS | ANSWERS | LIES


@answering
def chunks_without_end(victim: Victim) -> None:
    """For streams: nothing but empty chunks, as fast as they are read."""
    request_id = victim.asked()["id"]
    chunk = msgspec.msgpack.encode({"id": request_id, "chunk": b""})
    while True:
        victim.raw((struct.pack(">I", len(chunk)) + chunk) * 1000)


@answering
def chunks_after_the_end(victim: Victim) -> None:
    request_id = victim.asked()["id"]
    victim.say(id=request_id, chunk=b"a")
    victim.say(id=request_id, end=True)
    victim.say(id=request_id, chunk=b"b")
    victim.wait()


@answering
def a_result_for_a_stream(victim: Victim) -> None:
    victim.say(id=victim.asked()["id"], result=b"all of it")
    victim.wait()


@answering
def the_same_answer_twice(victim: Victim) -> None:
    request_id = victim.asked()["id"]
    victim.say(id=request_id, result={"some": 1})
    victim.say(id=request_id, result={"some": 2})
    victim.wait()


EVERYTHING = ATTACKS | ANSWERS


def serve(attacks: Mapping[str, Path]) -> None:
    """Listen at each path and deal with whoever connects, until killed."""
    for name, path in attacks.items():
        threading.Thread(target=_listen, args=(EVERYTHING[name], path), daemon=True).start()
    threading.Event().wait()


def _listen(attack: Attack, path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    draft = path.with_name(f"{os.getpid()}{path.name}"[:20])
    with short_address(draft) as address:
        listening.bind(address)
    listening.listen(64)
    draft.replace(path)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_deal, args=(attack, connection), daemon=True).start()


def _deal(attack: Attack, connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        attack(Victim(connection))


@contextlib.contextmanager
def impostor(attacks: Mapping[str, Path]) -> Iterator[None]:
    """Run one in a process of its own; it takes the place of whatever socket is there."""
    before = {path: path.stat().st_ino if path.exists() else 0 for path in attacks.values()}
    pairs = [f"{name}={path}" for name, path in attacks.items()]
    process = subprocess.Popen([sys.executable, "-m", "tests.tenants.impostor", *pairs], cwd=ROOT)
    try:
        wait_until(lambda: all(path.exists() and path.stat().st_ino != inode for path, inode in before.items()))
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    serve({name: Path(path) for name, path in (pair.split("=", 1) for pair in sys.argv[1:])})
