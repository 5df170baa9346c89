"""JSON-RPC 2.0 as MCP uses it: one message per body, no batches."""

from __future__ import annotations

from typing import Any

import msgspec

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602

Id = str | int | None


class Message(msgspec.Struct):
    """A request, or without an id a notification. A response from the client has neither method nor use here."""

    jsonrpc: str
    method: str | msgspec.UnsetType = msgspec.UNSET
    id: str | int | msgspec.UnsetType | None = msgspec.UNSET
    params: dict[str, Any] = {}

    @property
    def is_notification(self) -> bool:
        """Whether no answer is expected."""
        return self.id is msgspec.UNSET


class RpcError(Exception):
    """An error of the protocol, not of a tool."""

    def __init__(self, code: int, message: str, *, status: int = 200, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data


_decoder = msgspec.json.Decoder(Message)


def decode(body: bytes) -> Message:
    """Return the message in ``body``; ``RpcError`` for what is none."""
    try:
        message = _decoder.decode(body)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RpcError(INVALID_REQUEST, f"Not a JSON-RPC 2.0 message: {error}"[:300], status=400) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RpcError(PARSE_ERROR, "The body is not valid JSON.", status=400) from error
    if message.jsonrpc != "2.0":
        raise RpcError(INVALID_REQUEST, "jsonrpc must be 2.0.", status=400)
    return message


def result(message_id: Id | msgspec.UnsetType, value: Any) -> bytes:
    """Return the body of a success."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "result": value})


def failure(message_id: Id | msgspec.UnsetType, error: RpcError) -> bytes:
    """Return the body of an error."""
    detail: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        detail["data"] = error.data
    return msgspec.json.encode({"jsonrpc": "2.0", "id": None if message_id is msgspec.UNSET else message_id, "error": detail})
