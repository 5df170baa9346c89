"""Problems as OpenAPI describes them: what every address under ``/v1`` may answer besides its own result."""

from __future__ import annotations

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from gateway.api.errors import CODES


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """RFC 9457 with a stable ``code``. Some codes bring members of their own, which the reference names."""

    title: str
    status: int
    code: str
    type: str = "about:blank"
    detail: str = ""
    field: str = ""
    """What is at fault, as a path."""


def _description(status: int) -> str:
    return ", ".join(code for code, (code_status, _) in CODES.items() if code_status == status)


PROBLEMS: dict[int, ResponseSpec] = {
    status: ResponseSpec(
        ProblemDocument,
        description=_description(status),
        media_type="application/problem+json",
        generate_examples=False,
    )
    for status in sorted({status for status, _ in CODES.values()})
}
"""By status; the description lists the codes."""
