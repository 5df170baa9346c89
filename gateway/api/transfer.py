"""``/v1/export`` and ``/v1/import``: everything out, everything in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.response import Stream

from engine.catalogue.transfer import EXPORT, Imported, MemoryExport
from gateway.admission import require
from gateway.api.errors import invalid
from gateway.execution import Execution
from gateway.import_file import import_file
from gateway.upload import Spool
from tenants.registry.keys import Principal


@dataclass
class _ImportOperation(Operation):
    """The OpenAPI description of a body that is streamed, of which Litestar therefore knows nothing."""

    def __post_init__(self) -> None:
        file = Schema(type=OpenAPIType.OBJECT, description="An export file, version 1.0.")
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={"file": Schema(type=OpenAPIType.STRING, content_media_type="application/json")},
            required=["file"],
        )
        content = {"application/json": OpenAPIMediaType(schema=file), "multipart/form-data": OpenAPIMediaType(schema=form)}
        self.request_body = RequestBody(content=content, required=True)


@get("/export", guards=[require("read")], media_type="application/json", summary="Export everything", tags=["transfer"])
async def export(request: Request[Principal, Any, Any], execution: NamedDependency[Execution]) -> Stream:
    """Stream all memories as Engram's JSON, version 1.0, as of this moment."""
    for name in request.query_params:
        if name != "format":
            raise invalid(name[:64], "there is no such parameter")
    if request.query_params.get("format", "json") != "json":
        raise invalid("format", "must be json")
    chunks = execution.stream(request.user, EXPORT, MemoryExport())
    first = await anext(chunks)  # an error before the first byte still becomes a problem with its status

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    headers = {"Content-Disposition": 'attachment; filename="engram-export.json"'}
    return Stream(body(), media_type="application/json", headers=headers)


@post(
    "/import",
    guards=[require("write")],
    status_code=200,
    operation_class=_ImportOperation,
    request_max_body_size=None,  # streamed to a file; gateway.upload has the limit
    summary="Import a file",
    tags=["transfer"],
)
async def import_memories(
    request: Request[Principal, Any, Any], execution: NamedDependency[Execution], spool: NamedDependency[Spool]
) -> Imported:
    """Import an export file, sent as the body or as the part ``file`` of a form. All of it is taken, or nothing."""
    with spool.open() as file:
        await file.receive(request.headers.get("content-type", ""), request.stream())
        return await import_file(file.path_descriptor, request.user, execution)


ROUTES = [export, import_memories]
