"""``/v1/export`` and ``/v1/import``: everything out, everything in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args

import msgspec
import multipart
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import Parameter
from litestar.response import Stream

from engine.catalogue.export_file import FileFormat
from engine.catalogue.transfer import FILE, ExportFile, Imported
from gateway.admission import require
from gateway.api.errors import invalid
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from gateway.import_file import ImportFile
from gateway.import_turns import ImportTurns
from gateway.places import Places
from gateway.upload import FILE_KINDS, UPLOAD_BYTES_MAX, Spool
from quotas.plans import PLANS
from tenants.registry.keys import Principal

_EXPORTS = {
    "json": ("application/json", "json"),
    "jsonl": ("application/x-ndjson", "jsonl"),
    "markdown": ("text/markdown", "md"),
    "sqlite": ("application/vnd.sqlite3", "sqlite"),
}
"""For each format its media type and the ending of its file's name."""


@dataclass
class _ImportOperation(Operation):
    """The OpenAPI description of a body that is streamed, of which Litestar therefore knows nothing."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={"file": Schema(type=OpenAPIType.STRING, content_media_type="application/json")},
            required=["file"],
        )
        document = Schema(type=OpenAPIType.OBJECT, description="An export file, version 1.0.")
        content = {
            "application/json": OpenAPIMediaType(schema=document),
            "application/x-ndjson": OpenAPIMediaType(schema=text),
            "text/markdown": OpenAPIMediaType(schema=text),
            "multipart/form-data": OpenAPIMediaType(schema=form),
        }
        self.request_body = RequestBody(content=content, required=True)


@get(
    "/export",
    guards=[require("read")],
    responses=PROBLEMS,
    summary="Export everything",
    tags=["transfer"],
)
async def export(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    places: NamedDependency[Places],
    form: Annotated[str | None, Parameter(query="format")] = None,
    workspace: str | None = None,
) -> Stream:
    """Stream all memories as of this moment: ``format`` json (Engram's, version 1.0), jsonl, markdown or sqlite.

    ``workspace`` restricts the export to one. The trash is left out.
    """
    _check_parameters(request, "format", "workspace")
    given = {"format": form, "workspace": workspace}
    arguments = msgspec.convert({name: value for name, value in given.items() if value is not None}, ExportFile)
    media_type, ending = _EXPORTS[arguments.format]
    headers = {"Content-Disposition": f'attachment; filename="engram-export.{ending}"'}
    body = await _begun(_export(request.user, arguments, execution, places))
    return Stream(body, media_type=media_type, headers=headers)


@post(
    "/import",
    guards=[require("write")],
    status_code=200,
    operation_class=_ImportOperation,
    request_max_body_size=None,  # streamed to a file; gateway.upload has the limit
    media_type="application/json",
    responses=PROBLEMS | {200: ResponseSpec(Imported, description="What it did.", generate_examples=False)},
    summary="Import a file",
    tags=["transfer"],
)
async def import_memories(
    request: Request[Principal, Any, Any],
    execution: NamedDependency[Execution],
    spool: NamedDependency[Spool],
    places: NamedDependency[Places],
    turns: NamedDependency[ImportTurns],
    form: Annotated[str | None, Parameter(query="format")] = None,
) -> Stream:
    """Import an export file, sent as the body or as the part ``file`` of a form. All of it is taken, or nothing.

    ``format`` json, jsonl or markdown; without it, what the content type says or the file looks like.
    """
    _check_parameters(request, "format")
    given = _format(form, request.headers.get("content-type", ""))
    storage = PLANS[request.user.plan].storage_bytes
    bytes_max = UPLOAD_BYTES_MAX if storage is None else storage  # what can't be stored need not be received
    with places.take(request.user.tenant), spool.open(bytes_max=bytes_max) as file:
        await file.receive(request.headers.get("content-type", ""), request.stream())
        async with turns.of(request.user.tenant):
            answer = ImportFile(file.path_descriptor, given, request.user, execution).bring_in()
            return Stream(await _begun(answer), media_type="application/json")


def _format(named: str | None, content_type: str) -> FileFormat | None:
    """Return the format that the address or else the content type names; ``None`` when neither does."""
    if named is None:
        kind, _ = multipart.parse_options_header(content_type)
        return FILE_KINDS.get(kind)
    if named not in get_args(FileFormat):
        raise invalid("format", f"must be one of {', '.join(get_args(FileFormat))}")
    return cast(FileFormat, named)


def _check_parameters(request: Request[Principal, Any, Any], *known: str) -> None:
    """``invalid`` for a parameter that nobody knows or that is there twice."""
    for name in request.query_params:
        if name not in known:
            raise invalid(name[:64], "there is no such parameter")
        if len(request.query_params.getall(name)) > 1:
            raise invalid(name, "was given more than once")


async def _begun(chunks: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """Wait for the first chunk and return all: an error before it still becomes a problem with its status."""
    first = await anext(chunks)

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    return body()


async def _export(principal: Principal, arguments: ExportFile, execution: Execution, places: Places) -> AsyncGenerator[bytes]:
    with places.take(principal.tenant):
        async for chunk in execution.stream(principal, FILE, arguments):
            if chunk:  # an empty one says that the engine is still at work
                yield chunk


ROUTES = [export, import_memories]
