"""The catalogue as MCP's tools: listed with schemas, called with arguments that a model wrote.

An error of a tool is a result with ``isError``: the model reads it and corrects itself. It says which argument is wrong.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.catalogue import TOOLS, Tool
from engine.catalogue.schema import object_schema
from engine.protocol import RemoteError
from gateway.api.errors import CODES, Problem, as_problem
from gateway.execution import Execution
from gateway.mcp.jsonrpc import INVALID_PARAMS, RpcError
from tenants.registry.keys import Principal


def list_tools(principal: Principal) -> list[dict[str, Any]]:
    """Return the essential tools that this key may call; ``discover_tools`` finds the others, which are called alike."""
    return [_description(tool) for tool in TOOLS.values() if tool.profile == "essential" and tool.scope in principal.scopes]


async def call_tool(params: dict[str, Any], principal: Principal, execution: Execution) -> dict[str, Any]:
    """Call a tool and return MCP's ``CallToolResult``."""
    name = params.get("name")
    tool = TOOLS.get(name) if isinstance(name, str) else None
    if tool is None:
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {str(name)[:100]}")
    given = params.get("arguments")
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise RpcError(INVALID_PARAMS, "arguments must be an object")
    try:
        arguments = msgspec.convert(tool.renamed(given), tool.arguments)
        result = await execution.run(principal, tool, arguments)
    except (RemoteError, Problem, msgspec.ValidationError, RecursionError) as error:
        return _failure(as_problem(error))
    structured = msgspec.to_builtins(result)
    return {"content": [_text(structured)], "structuredContent": structured, "isError": False}


def _description(tool: Tool[Any, Any]) -> dict[str, Any]:
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": object_schema(tool.arguments),
        "outputSchema": object_schema(tool.result),
        "annotations": tool.annotations(),
    }


def _text(value: Any) -> dict[str, str]:
    return {"type": "text", "text": msgspec.json.encode(value).decode()}


def _failure(problem: Problem) -> dict[str, Any]:
    title = CODES[problem.code][1]
    explanation = {"error": problem.code, "message": problem.detail or title} | problem.members
    return {"content": [_text(explanation)], "isError": True}
