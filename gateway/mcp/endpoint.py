"""``POST /v1/mcp``: MCP's streamable HTTP transport without sessions; every answer is one JSON body."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from msgspec import UNSET

from engine import VERSION
from gateway.api.errors import Problem
from gateway.api.request import check_json
from gateway.execution import Execution
from gateway.mcp.jsonrpc import METHOD_NOT_FOUND, Message, RpcError, decode, failure, result
from gateway.mcp.tools import call_tool, list_tools
from gateway.settings import GatewaySettings
from tenants.registry.keys import Principal

PROTOCOL_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
"""What ``initialize`` can agree on, the newest first."""

_VERSION_WITHOUT_HEADER = "2025-03-26"
_LOOPBACK_ORIGIN = re.compile(r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?")

_INSTRUCTIONS = (
    "A lasting memory of your own. Search before you answer from memory or store something new; store facts, decisions and"
    " preferences that will matter later, one per memory, in words that will be understood without this conversation."
)


@post("/mcp", status_code=200, include_in_schema=False)
async def mcp(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    settings: NamedDependency[GatewaySettings],
) -> Response[bytes]:
    """Answer one message."""
    _check_origin(request, settings)
    check_json(request)
    message_id: Any = UNSET
    try:
        message = decode(await request.body())
        message_id = message.id
        _check_version(request, message)
        if message.is_notification or message.method is UNSET:
            return Response(b"", status_code=202)
        answer = await _answer(message, request.user, execution)
    except RpcError as error:
        return _json(failure(message_id, error), status=error.status)
    return _json(result(message_id, answer))


async def _answer(message: Message, principal: Principal, execution: Execution) -> dict[str, Any]:
    match message.method:
        case "initialize":
            return _initialize(message.params)
        case "ping":
            return {}
        case "tools/list":
            return {"tools": list_tools(principal)}
        case "tools/call":
            return await call_tool(message.params, principal, execution)
        case _:
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {str(message.method)[:100]}")


def _initialize(params: dict[str, Any]) -> dict[str, Any]:
    wanted = params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[0],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "engram-cloud", "title": "Engram Cloud", "version": VERSION},
        "instructions": _INSTRUCTIONS,
    }


def _check_version(request: Request[Any, Any, Any], message: Message) -> None:
    if message.method == "initialize":
        return
    version = request.headers.get("mcp-protocol-version", _VERSION_WITHOUT_HEADER)
    if version not in PROTOCOL_VERSIONS:
        data = {"supported": list(PROTOCOL_VERSIONS), "requested": version[:64]}
        raise RpcError(-32022, "Unsupported protocol version", status=400, data=data)


def _check_origin(request: Request[Any, Any, Any], settings: GatewaySettings) -> None:
    """Refuse web pages of other origins: a page must not reach a memory through its reader's browser."""
    origin = request.headers.get("origin")
    if origin is None or origin.rstrip("/") in settings.allowed_origins or origin.rstrip("/") == settings.public_url:
        return
    if not _LOOPBACK_ORIGIN.fullmatch(origin):
        raise Problem("forbidden", "This origin is not allowed; ENGRAM_ALLOWED_ORIGINS lists those that are.")


def _json(body: bytes, *, status: int = 200) -> Response[bytes]:
    return Response(body, status_code=status, media_type="application/json")


ROUTES = [mcp]
