"""A client for one bucket: timeouts, tries, and what R2 and other stores that speak S3 need said differently.

The rest of the package knows botocore only through it and ``s3_failures``.
"""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import boto3
from botocore.config import Config

from tenants.replica.stores.address import Bucket
from tenants.replica.stores.counting import Requests

CONNECTIONS_MAX = 32
"""As many requests at once: threads beyond wait for a connection."""

CONNECT_S, READ_S = 5.0, 30.0
"""A store that is silent for so long is taken for unreachable."""

_TRIES = 2
"""A second one for a connection that was closed while it lay idle. Whoever calls has a backoff of their own for the rest."""

_KINDS = {"GetObject": "get", "HeadObject": "head", "HeadBucket": "head", "ListObjectsV2": "list", "DeleteObjects": "delete"}
"""Everything else writes."""


def connect(place: Bucket, requests: Requests, *, read_s: float = READ_S) -> Any:
    """Return a client, which any thread may use, and have ``requests`` count what it sends."""
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"total_max_attempts": _TRIES, "mode": "standard"},
        max_pool_connections=CONNECTIONS_MAX,
        # A checksum in a header or a trailer is what R2 and others do not take everywhere. The body's SHA-256 in the signature
        # they all do, and it says the same: what arrived is what was sent.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if place.endpoint else "auto", "payload_signing_enabled": True},
        tcp_keepalive=True,
    )
    # A session of its own: the module's default one is shared by whoever else uses boto3, and is not safe to make in threads.
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        aws_session_token=place.session_token,
        config=config,
    )

    def count(event_name: str, **_: Any) -> None:
        requests.add(_KINDS.get(event_name.rpartition(".")[2], "put"))

    client.meta.events.register("before-send.s3", count)
    client.meta.events.register("before-sign.s3.DeleteObjects", _digest_deletion)
    client.meta.events.register_last("before-call.s3", _send_at_once)
    return client


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    """Send what lies in memory without asking first whether it is wanted: that would be a round trip more."""
    if isinstance(params.get("body"), bytes | io.BytesIO):
        params["headers"].pop("Expect", None)


def _digest_deletion(request: Any, **_: Any) -> None:
    """Give the digest that a deletion must have as MD5, which every store takes. botocore gives CRC-32, which few do."""
    for name in [name for name in request.headers if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum-"))]:
        del request.headers[name]
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()
