"""Addresses of object stores, read. A mistake in one is told in words that say what to change; no secret is repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from tenants.replica.stores.keys import is_key

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3's rule for names of buckets."""

_PARAMETERS = {"endpoint", "region"}

REGION = "us-east-1"
"""Where nothing else is said. R2 takes it for its own ``auto``."""


class StoreUrlError(Exception):
    """This is no address of an object store. The message says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A folder of this host's."""

    root: Path


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A place in a bucket, and how to get there."""

    bucket: str
    prefix: str = ""
    """What all keys begin with: nothing, or parts that end with ``/``."""
    endpoint: str | None = None
    """``None``: Amazon's."""
    region: str = REGION
    access_key: str | None = None
    """``None``: the machine's own credentials."""
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def parse(url: str, environment: Mapping[str, str]) -> Directory | Bucket:
    """Return what ``url`` means, with the credentials in ``environment``; ``StoreUrlError``."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise StoreUrlError(f"no address of an object store: {error}") from error
    if parts.fragment:
        raise StoreUrlError("an address of an object store has no #fragment; write # as %23")
    if parts.scheme == "file":
        return _directory(parts)
    if parts.scheme == "s3":
        return _bucket(parts, environment)
    raise StoreUrlError("an object store is file:///absolute/path or s3://bucket/prefix?endpoint=…&region=…")


def _directory(parts: SplitResult) -> Directory:
    if parts.netloc:
        raise StoreUrlError("file:// is followed by an absolute path: file:///var/lib/engram (three slashes)")
    if parts.query:
        raise StoreUrlError("file:// takes no parameters")
    path = unquote(parts.path)
    if not path.startswith("/") or path.strip("/") == "" or "\0" in path or ".." in path.split("/"):
        raise StoreUrlError("file:// is followed by the absolute path of a folder, without ..")
    return Directory(root=Path(path))


def _bucket(parts: SplitResult, environment: Mapping[str, str]) -> Bucket:
    if "@" in parts.netloc:
        raise StoreUrlError("credentials are given as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the address")
    if not _BUCKET.fullmatch(parts.netloc):
        raise StoreUrlError("s3:// is followed by the bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens")
    prefix = unquote(parts.path).strip("/")
    if prefix and not is_key(prefix):
        raise StoreUrlError("a prefix in a bucket is made of letters, digits and . _ - in parts joined by single slashes")
    parameters = _parameters(parts.query)
    endpoint = parameters.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint)
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if bool(access_key) != bool(secret_key):
        raise StoreUrlError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY come together")
    region = parameters.get("region") or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or REGION
    return Bucket(
        bucket=parts.netloc,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        region=region,
        access_key=access_key or None,
        secret_key=secret_key or None,
        session_token=environment.get("AWS_SESSION_TOKEN") or None if access_key else None,
    )


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as error:
        raise StoreUrlError(f"the parameters of s3:// can't be read: {error}") from error
    for name, value in pairs:
        if name not in _PARAMETERS:
            raise StoreUrlError(f"s3:// knows no parameter {name!a}, only endpoint and region")
        if not value:
            raise StoreUrlError(f"the parameter {name} is empty")
    if len(dict(pairs)) < len(pairs):
        raise StoreUrlError("a parameter of s3:// is given twice")
    return dict(pairs)


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise StoreUrlError("endpoint is an address such as https://ACCOUNT.r2.cloudflarestorage.com")
    if parts.username is not None:
        raise StoreUrlError("credentials are given as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the endpoint")
