"""The client's half of a conversation: which frames a server may send, and when. Frames in, replies out; no I/O.

The server may be hostile: an engine that was taken over writes what it likes. It may answer what was asked, once, in the form
that was asked for, after a greeting. Whatever else it sends is a ``Breach``, after which nothing on that connection is worth
anything. What it says in an answer is cut to what the rest of the system is made for.
"""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

import msgspec

from engine.protocol.errors import ErrorCode, RemoteError
from engine.protocol.limits import CONTAINERS_MAX, IN_FLIGHT_MAX
from engine.protocol.messages import Hello, ReplyError
from engine.protocol.weight import is_too_heavy

T = TypeVar("T")

_NOTICES_MAX = 16
"""Frames that belong to the connection: a greeting and a farewell, and room for what newer servers may have to say."""

_NOTICE_BYTES_MAX = 4096
_ERROR_BYTES_MAX = 256 * 1024
"""An error names fields and limits. This is far more than the longest, and little enough to be decoded without harm."""

_MESSAGE_CHARACTERS_MAX = 1000
_DETAILS_MAX = 16
_DETAIL_NAME = re.compile(r"[a-z][a-z_]{0,31}")
_DETAIL_CHARACTERS_MAX = 500
_INTEGER_MAX = 2**63 - 1


_UNSET = msgspec.UNSET


class Breach(Exception):
    """The peer broke the protocol: close the connection."""


class Answer(msgspec.Struct):
    """A server's frame as the client reads it: what may be of any size is not looked into yet."""

    id: int = 0
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    chunk: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    end: bool = False
    hello: Hello | None = None
    going_away: bool = False

    @property
    def size(self) -> int:
        """Bytes of the chunk."""
        return 0 if self.chunk is msgspec.UNSET else len(self.chunk)

    def is_result(self) -> bool:
        """Whether it is the result of a call and nothing else, as nearly all are."""
        return self.result is not _UNSET and self.error is _UNSET and self.chunk is _UNSET and not self.end

    def is_final(self) -> bool:
        """Whether nothing more follows under this id."""
        return self.chunk is msgspec.UNSET


def _refuse_extension(code: int, data: memoryview) -> Any:
    raise msgspec.ValidationError(f"extension type {code} is not part of the protocol")


_answer_decoder = msgspec.msgpack.Decoder(Answer)
_error_decoder = msgspec.msgpack.Decoder(ReplyError, ext_hook=_refuse_extension)
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class Conversation:
    """What was asked on one connection and not answered yet."""

    def __init__(self) -> None:
        self.hello: Hello | None = None
        self._calls: set[int] = set()
        self._streams: set[int] = set()
        self._left: set[int] = set()
        self._notices = 0

    def asked(self, request_id: int, *, stream: bool = False) -> None:
        """Expect an answer: one result, or with ``stream`` chunks and their end; or an error."""
        (self._streams if stream else self._calls).add(request_id)

    def leave(self, request_id: int) -> bool:
        """Nobody waits for that answer any more. It may come nonetheless. Whether it had not come yet."""
        if request_id in self._calls:
            self._calls.discard(request_id)
        elif request_id in self._streams:
            self._streams.discard(request_id)
        else:
            return False
        self._left.add(request_id)
        return True

    @property
    def is_neglected(self) -> bool:
        """Whether the server owes more answers than an honest one has under way: they are remembered as long as we talk."""
        return len(self._left) > 2 * IN_FLIGHT_MAX

    def receive(self, frame: bytes) -> Answer | None:
        """Return the answer in ``frame``, or the notice if its id is 0; ``None`` for one that nobody waits for any more."""
        answer: Answer = _decoded(_answer_decoder, frame)
        number = answer.id
        if number in self._calls and self.hello is not None and answer.is_result():
            self._calls.discard(number)
            return answer
        if number == 0:
            self._take_notice(answer, len(frame))
            return answer
        if self.hello is None:
            raise Breach("it answered before it greeted")
        kinds = (answer.result is not msgspec.UNSET) + (answer.error is not msgspec.UNSET)
        kinds += (answer.chunk is not msgspec.UNSET) + answer.end
        if kinds != 1:
            raise Breach("an answer is exactly one of result, error, chunk and end")
        is_of_stream = answer.end or answer.chunk is not msgspec.UNSET
        if number in self._left:
            if answer.is_final():
                self._left.discard(number)
            return None
        expected = self._streams if number in self._streams else self._calls
        if number not in expected:
            raise Breach("it answered what was not asked, or has been answered")
        if answer.error is msgspec.UNSET and is_of_stream is not (expected is self._streams):
            raise Breach("it answered a call as a stream, or a stream as a call")
        if answer.is_final():
            expected.discard(number)
        return answer

    def _take_notice(self, answer: Answer, size: int) -> None:
        self._notices += 1
        if self._notices > _NOTICES_MAX or size > _NOTICE_BYTES_MAX:
            raise Breach("it says more about the connection than there is to say")
        if self.hello is None:
            if answer.hello is None:
                raise Breach("it did not greet first")
            self.hello = answer.hello


def decode_result(raw: msgspec.Raw, result_type: type[T]) -> T:
    """Return an answer's value as a ``result_type``; ``Breach`` for one that is none."""
    if len(raw) > CONTAINERS_MAX and is_too_heavy(bytes(raw)):
        raise Breach("its answer holds more than any answer does")
    decoder = _decoders.get(result_type)
    if decoder is None:
        decoder = _decoders[result_type] = msgspec.msgpack.Decoder(result_type, ext_hook=_refuse_extension)
    return _decoded(decoder, raw)  # type: ignore[no-any-return]


def decode_error(raw: msgspec.Raw) -> RemoteError:
    """Return the error a server answered, cut to its sober part. A newer server's code means ``internal``."""
    if len(raw) > _ERROR_BYTES_MAX:
        raise Breach(f"an error of {len(raw)} bytes is over the limit of {_ERROR_BYTES_MAX}")
    told: ReplyError = _decoded(_error_decoder, raw)
    try:
        code = ErrorCode(told.code)
    except ValueError:
        code = ErrorCode.INTERNAL
    if code == ErrorCode.BROKEN:
        code = ErrorCode.INTERNAL  # that is what a client says of a server
    error = RemoteError(code, _printable(told.message, _MESSAGE_CHARACTERS_MAX))
    error.details = _sober(told.details)
    return error


def _decoded(decoder: msgspec.msgpack.Decoder[Any], data: Any) -> Any:
    try:
        return decoder.decode(data)
    except (ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        # msgspec's own errors are ValueErrors, as is bad UTF-8; a map may have a key that can't be one.
        raise Breach(f"it sent what can't be read: {type(error).__name__}") from None


def _sober(details: dict[str, Any]) -> dict[str, Any]:
    """Return the details that are names with plain, finite, short values."""
    kept: dict[str, Any] = {}
    for name, value in details.items():
        if len(kept) == _DETAILS_MAX or not _DETAIL_NAME.fullmatch(name):
            continue
        match value:
            case str():
                kept[name] = _printable(value, _DETAIL_CHARACTERS_MAX)
            case None | bool():
                kept[name] = value
            case int() if abs(value) <= _INTEGER_MAX:
                kept[name] = value
            case float() if math.isfinite(value):
                kept[name] = value
    return kept


def _printable(text: str, characters_max: int) -> str:
    """Return the text in one line, without what ends lines, moves a cursor or turns the direction of writing."""
    text = text[:characters_max]
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
