"""The wire between our own processes: messages, framing, error codes and limits. Nothing in here does I/O."""

from engine.protocol.errors import ErrorCode, RemoteError
from engine.protocol.framing import FrameDecoder, encode_frame
from engine.protocol.messages import Caller, Embedding, Hello, Limits, Passage, Reply, ReplyError, Request

__all__ = [
    "Caller",
    "Embedding",
    "ErrorCode",
    "FrameDecoder",
    "Hello",
    "Limits",
    "Passage",
    "RemoteError",
    "Reply",
    "ReplyError",
    "Request",
    "encode_frame",
]
