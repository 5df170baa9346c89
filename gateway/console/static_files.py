"""The static files, read once: an address is looked up among their names and never becomes a path."""

from __future__ import annotations

import mimetypes
from typing import Any, Final

from litestar import Response, get
from litestar.exceptions import NotFoundException

from gateway.console.rendering import STATIC

_YEAR_S = 365 * 24 * 60 * 60
_FILES: Final = {
    path.name: (path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")
    for path in STATIC.iterdir()
}


@get("/static/{name:str}", include_in_schema=False, sync_to_thread=False)
def static_file(name: str) -> Response[Any]:
    """Return one file. Its address changes with its content, so it may be kept for good."""
    if name not in _FILES:
        raise NotFoundException
    content, media_type = _FILES[name]
    headers = {"Cache-Control": f"public, max-age={_YEAR_S}, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=media_type, headers=headers)
