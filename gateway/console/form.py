"""The sign-up form as it travels: reading a body, and telling our own page's POST from another site's.

Pure. Which values are acceptable is the registry's decision; here only what is empty is caught, so that a person sees every
empty field at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

FORM_BYTES_MAX: Final = 16 * 1024
"""Three short fields; 256 characters of password are at most 3 KiB percent-encoded."""

FORM_FIELDS_MAX: Final = 16
"""Our form has three; some browser extensions add a few."""

FORM_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"

_EMPTY: Final = {
    "email": "Enter your e-mail address.",
    "password": "Choose a password.",
    "organization": "Enter a name for your organization.",
}
FIELDS: Final = tuple(_EMPTY)


@dataclass(frozen=True, kw_only=True)
class SignUpForm:
    """What a person typed."""

    email: str = ""
    password: str = ""
    organization: str = ""

    def empty_fields(self) -> dict[str, str]:
        """Return a message for each field that was left empty."""
        return {field: message for field, message in _EMPTY.items() if not getattr(self, field)}


def read_form(body: bytes) -> SignUpForm:
    """Return the form in ``body``. A field that is missing is empty; ``ValueError`` if it is no UTF-8 form at all."""
    pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict")
    fields = dict(pairs)
    return SignUpForm(
        email=fields.get("email", "").strip(),
        password=fields.get("password", ""),
        organization=fields.get("organization", "").strip(),
    )


def is_from_another_site(headers: Mapping[str, str], *, public_url: str) -> bool:
    """Say whether a browser sent this request from a page that is not ours.

    ``Sec-Fetch-Site`` decides where there is one: scripts cannot set it. Browsers leave it out over plain HTTP; then the
    host in ``Origin`` must be the one that was asked, or the public one when a proxy rewrites ``Host``. A request with
    neither comes from no browser of today and carries nobody's cookies.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    if origin is None:
        return False
    _, _, host = origin.partition("://")
    return not host or host not in {headers.get("host", ""), urlsplit(public_url).netloc}
