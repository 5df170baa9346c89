"""Every error as ``application/problem+json`` (RFC 9457) with a stable ``code``. Nothing internal is ever shown."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, InternalServerException, SerializationException, ValidationException
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.protocol import ErrorCode, RemoteError

_log = structlog.get_logger()

CODES: dict[str, tuple[int, str]] = {
    "invalid": (400, "The request has a bad value."),
    "key_missing": (401, "An API key is needed."),
    "key_malformed": (401, "This is not an API key."),
    "key_invalid": (401, "This API key is unknown, revoked or expired."),
    "quota_exceeded": (402, "The plan's limit is reached."),
    "forbidden": (403, "This key may not do that."),
    "not_found": (404, "There is no such thing."),
    "method_not_allowed": (405, "This address does not take that method."),
    "conflict": (409, "The present state does not allow that."),
    "duplicate": (409, "This is stored already."),
    "email_taken": (409, "There is an account with this e-mail address."),
    "version_mismatch": (412, "It has changed meanwhile."),
    "too_large": (413, "The request is too large."),
    "unsupported_media_type": (415, "The body is of a kind that is not read here."),
    "idempotency_key_reused": (422, "Another request had this idempotency key."),
    "rate_limited": (429, "Too many requests."),
    "internal": (500, "Something went wrong on our side."),
    "engine_failed": (502, "The database's engine gave an answer that can't be used."),
    "unavailable": (503, "This can't be answered right now."),
    "not_replicated": (503, "This is stored, but not replicated yet."),
    "deadline_exceeded": (503, "This took too long and was given up."),
    "database_corrupt": (503, "The database is damaged and has been set aside."),
    "moved": (503, "The database is served by another node."),
    "disk_full": (507, "The node's disk is full; nothing was changed."),
}
"""Each code's status and title. ``detail`` says more, ``field`` names what is at fault."""

_FROM_ENGINE = {
    ErrorCode.DRAINING: "unavailable",
    ErrorCode.OVERLOADED: "unavailable",
    ErrorCode.TOO_MANY: "rate_limited",
    ErrorCode.LOST: "unavailable",
    ErrorCode.WRONG_MODEL: "unavailable",
    ErrorCode.UNKNOWN_METHOD: "unavailable",
    ErrorCode.BROKEN: "engine_failed",
}

_MEMBERS: dict[str, tuple[type, ...]] = {
    "field": (str,),
    "metric": (str,),
    "limit": (int,),
    "current": (int,),
    "version": (int,),
    "entry": (int,),
    "id": (int, str),
    "retry_after": (int, float),
}
"""What of an engine's details may become a member of a problem. An engine may be hostile: nothing else does."""

_MEMBER_CHARACTERS_MAX = 500
_INTEGER_MAX = 2**63 - 1
_RETRY_AFTER_S_MAX = 3600

_FROM_STATUS = {
    400: "invalid",
    401: "key_missing",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}

_AT = re.compile(r" - at `\$?\.?(?:\[\.\.\.\])?(?P<path>[^`]*)`$")
_NAMED = re.compile(r"^Object (?:missing required|contains unknown) field `(?P<name>[^`]*)`")


class Problem(Exception):
    """An error of the gateway's own, by its code."""

    def __init__(self, code: str, detail: str = "", *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.members = members


def invalid(field: str, message: str) -> Problem:
    """Return the problem of one bad field."""
    return Problem("invalid", f"{field}: {message}", field=field)


def from_remote(error: RemoteError) -> Problem:
    """Return an engine's error as a problem."""
    code = _FROM_ENGINE.get(error.code, str(error.code))
    if code == "internal":
        return Problem("internal")
    members = {name: value for name, value in error.details.items() if _may_be_shown(name, value)}
    headers = {}
    if CODES[code][0] == HTTPStatus.SERVICE_UNAVAILABLE or "retry_after" in members:
        wait_s = _wait_s(members.get("retry_after", 1))
        headers["Retry-After"] = str(wait_s)
        if "retry_after" in members:
            members["retry_after"] = wait_s
    return Problem(code, error.message, headers=headers, **members)


def _may_be_shown(name: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, _MEMBERS.get(name, ())):
        return False
    match value:
        case str():
            return len(value) <= _MEMBER_CHARACTERS_MAX
        case int() | float():
            return abs(value) <= _INTEGER_MAX  # which a number that is none is not
        case _:
            return False


def _wait_s(value: float) -> int:
    """Return the whole seconds of a wait, none of them for ever."""
    return max(1, min(_RETRY_AFTER_S_MAX, math.ceil(value)))


def from_validation(message: str) -> Problem:
    """Return msgspec's message as a problem that names the field."""
    text = message
    path = ""
    if (at := _AT.search(message)) is not None:
        path, text = at["path"], message[: at.start()]
    if (named := _NAMED.match(text)) is not None:
        path = f"{path}.{named['name']}" if path else named["name"]
    field = path[:200] or "body"
    return Problem("invalid", f"{field}: {_uncapitalized(text)}"[:400], field=field)


def body(problem: Problem) -> dict[str, Any]:
    """Return the problem's JSON object."""
    status, title = CODES[problem.code]
    document = {"type": "about:blank", "title": title, "status": status, "code": problem.code}
    if problem.detail:
        document["detail"] = problem.detail
    return problem.members | document


def response(problem: Problem) -> Response[bytes]:
    """Return the problem as an HTTP response."""
    return Response(
        msgspec.json.encode(body(problem)),
        status_code=CODES[problem.code][0],
        media_type="application/problem+json",
        headers=problem.headers,
    )


def as_problem(error: BaseException) -> Problem:  # noqa: PLR0911  a table, written as a match
    """Return ``error`` as a problem; what nobody foresaw is logged and becomes ``internal``."""
    match error:
        case Problem():
            return error
        case RemoteError():
            return from_remote(error)
        case ValidationException():
            return _from_litestar(error)
        case msgspec.ValidationError() | msgspec.DecodeError():
            return from_validation(str(error))
        case SerializationException() if error.__cause__ is not None:
            return as_problem(error.__cause__)
        case InternalServerException() if error.detail == "client disconnected prematurely":
            return Problem("invalid", "body: ended before its declared length", field="body")
        case OperationalError() | PoolTimeout():
            _log.error("control_plane_unavailable", error=type(error).__name__, exc_info=error)
            return Problem("unavailable", "The control plane does not answer.", headers={"Retry-After": "1"})
        case RecursionError():
            return Problem("invalid", "body: nested too deeply", field="body")
        case UnicodeDecodeError():
            return Problem("invalid", "body: not valid UTF-8", field="body")
        case HTTPException() if error.status_code in _FROM_STATUS:
            cause = error.__cause__
            if error.status_code == HTTPStatus.BAD_REQUEST and cause is not None and not isinstance(cause, HTTPException):
                return as_problem(cause)
            code = _FROM_STATUS[error.status_code]
            return Problem(code, "" if code in ("not_found", "method_not_allowed") else error.detail)
        case _:
            _log.error("request_failed", error=type(error).__name__, exc_info=error)
            return Problem("internal")


def _from_litestar(error: ValidationException) -> Problem:
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):
        field = str(extra[0].get("key", "body"))[:200]
        if field == "data":  # Litestar's name for a body that is not there
            return Problem("invalid", "body: must not be empty", field="body")
        message = str(extra[0].get("message", "not valid"))
        if (named := _NAMED.match(message)) is not None:
            field = named["name"]
        return Problem("invalid", f"{field}: {_uncapitalized(message)}"[:400], field=field)
    return Problem("invalid", error.detail)


def _uncapitalized(message: str) -> str:
    """Return a message as the rest of a sentence; JSON stays JSON."""
    return message if message[:2].isupper() else message[:1].lower() + message[1:]
