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
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from gateway.import_file import import_file
from gateway.places import Places
from gateway.upload import UPLOAD_BYTES_MAX, Spool
from quotas.plans import PLANS
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


@get(
    "/export",
    guards=[require("read")],
    media_type="application/json",
    responses=PROBLEMS,
    summary="Export everything",
    tags=["transfer"],
)
async def export(
    request: Request[Principal, Any, Any], execution: NamedDependency[Execution], places: NamedDependency[Places]
) -> Stream:
    """Stream all memories as Engram's JSON, version 1.0, as of this moment."""
    for name in request.query_params:
        if name != "format":
            raise invalid(name[:64], "there is no such parameter")
    if request.query_params.get("format", "json") != "json":
        raise invalid("format", "must be json")
    chunks = _export(request.user, execution, places)
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
    responses=PROBLEMS,
    summary="Import a file",
    tags=["transfer"],
)
async def import_memories(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    spool: NamedDependency[Spool],
    places: NamedDependency[Places],
) -> Imported:
    """Import an export file, sent as the body or as the part ``file`` of a form. All of it is taken, or nothing."""
    storage = PLANS[request.user.plan].storage_bytes
    bytes_max = UPLOAD_BYTES_MAX if storage is None else storage  # what can't be stored need not be received
    with places.take(request.user.tenant), spool.open(bytes_max=bytes_max) as file:
        await file.receive(request.headers.get("content-type", ""), request.stream())
        return await import_file(file.path_descriptor, request.user, execution)


async def _export(principal: Principal, execution: Execution, places: Places) -> AsyncIterator[bytes]:
    with places.take(principal.tenant):
        async for chunk in execution.stream(principal, EXPORT, MemoryExport()):
            yield chunk


ROUTES = [export, import_memories]
