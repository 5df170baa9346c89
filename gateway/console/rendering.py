"""How a page is rendered: the template, the headers every page carries, the address of a static file, the problem pages.

Knows no route, no registry and no plan, so that any handler of the gateway may answer a browser with a page of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from litestar import MediaType, Request
from litestar.response import Template

TEMPLATES: Final = Path(__file__).with_name("templates")
STATIC: Final = Path(__file__).with_name("static")

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    # Not `no-referrer`: with it a browser sends `Origin: null` even with our own form.
    "Referrer-Policy": "same-origin",
}
"""Nothing inline, nothing from elsewhere, never inside somebody's frame."""

KEEP_NOT = "no-store"
"""``Cache-Control`` of a page that holds a key or what a person typed."""

PROBLEMS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("That request could not be read", "Something in it is malformed. Go back and send the form again."),
    403: ("That request came from another site", "Forms are accepted from our own pages only. Open the sign-up page here."),
    404: ("There is nothing at this address", "The page may have moved, or the address has a typing mistake."),
    405: ("This address does not answer that method", "Open it as an ordinary page instead."),
    413: ("That was too much at once", "The form is larger than any honest answer to it. Shorten the fields and try again."),
    415: ("That is not a form we can read", "Send it as application/x-www-form-urlencoded, or use POST /v1/signup with JSON."),
    429: ("Too many requests", "Wait a little and try again."),
    500: ("Something failed on our side", "Nothing you did caused it, and it has been logged. Try again in a moment."),
    503: ("Out of service for the moment", "Part of the service is starting or overloaded. Try again shortly."),
}
"""Title and detail by status, for problems that bring no words of their own."""


@cache
def static_address(name: str) -> str:
    """Return where a static file is served. The address changes with the content, so that it may be cached for good."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


def page(
    template: str,
    *,
    status_code: int = 200,
    cache_control: str = "no-cache",
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Template:
    """Return the rendered ``template`` as an answer with our headers."""
    return Template(
        template,
        context={"static": static_address, **context},
        status_code=status_code,
        media_type=MediaType.HTML,
        headers={**PAGE_HEADERS, "Cache-Control": cache_control, **(headers or {})},
    )


def problem_page(
    status_code: int, *, title: str = "", detail: str = "", request_id: str = "", headers: Mapping[str, str] | None = None
) -> Template:
    """Return a page that says what went wrong. Without ``title`` and ``detail`` the status chooses the words."""
    usual_title, usual_detail = PROBLEMS.get(status_code) or PROBLEMS[500 if status_code >= 500 else 400]
    return page(
        "problem.html",
        status_code=status_code,
        cache_control=KEEP_NOT,
        headers=headers,
        code=status_code,
        title=title or usual_title,
        detail=detail or usual_detail,
        request_id=request_id,
    )


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Say whether a problem should be told as a page: browsers name ``text/html``, programs do not."""
    return "text/html" in request.headers.get("accept", "")
