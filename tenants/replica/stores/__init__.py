"""The object stores that there are, opened by an address: a folder of this host's, or a bucket.

``file:///path`` is a folder. ``s3://bucket/prefix?endpoint=https://…&region=…`` is S3, or what speaks like it (R2, MinIO).
"""

from __future__ import annotations

from collections.abc import Mapping

from tenants.replica.objects import ObjectStore
from tenants.replica.stores.address import Bucket, StoreUrlError, parse
from tenants.replica.stores.directory import DirectoryStore

__all__ = ["StoreUrlError", "open_store"]


def open_store(url: str, environment: Mapping[str, str]) -> ObjectStore:
    """Open the store at ``url``; ``StoreUrlError`` when that is no address of one. Nothing is asked of a bucket yet.

    Credentials come from ``environment`` (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``), or from
    wherever the machine gives them. ``StoreRefused`` or ``StoreUnavailable`` for a folder that can't be used.
    """
    place = parse(url, environment)
    if isinstance(place, Bucket):
        from tenants.replica.stores.s3 import S3Store  # 0.35 s and 40 MB, which a folder does without

        return S3Store(place)
    return DirectoryStore(place.root)
