"""Objects in a bucket: S3, R2, or what else speaks S3 and heeds ``If-None-Match`` and ``If-Match`` when it is written to.

Importing this is dear (botocore); nobody does who was not given a bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from tenants.replica.objects import (
    LIST_PAGE,
    Listed,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    Opened,
    Stored,
    StoreRefused,
    StoreUnavailable,
)
from tenants.replica.stores.address import Bucket
from tenants.replica.stores.counting import Requests
from tenants.replica.stores.keys import check_key, check_metadata, check_prefix
from tenants.replica.stores.s3_client import READ_S, connect
from tenants.replica.stores.s3_failures import PreconditionFailed, code_of, failures
from tenants.replica.stores.s3_parts import PART_BYTES, PartsUpload

_MEMORY_BYTES_MAX = 2**20
"""A file up to here is read and sent at once; of a larger one the store is first asked whether it wants it."""

_PIECE_BYTES = 256 * 1024
_DELETE_MAX = 1000
"""Keys in one request; S3's own limit."""


class S3Store:
    """``ObjectStore`` in a bucket. Thread-safe."""

    kind = "s3"

    def __init__(self, place: Bucket, *, read_s: float = READ_S) -> None:
        """``read_s``: after how long a silence an answer is given up."""
        counted = Requests()
        self.requests = counted.by_kind
        self._bucket = place.bucket
        self._prefix = place.prefix
        self._client = connect(place, counted, read_s=read_s)
        self._parts = PartsUpload(self._client, place.bucket)
        self._bucket_was_seen = False

    def create(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> Stored:
        """See ``ObjectStore``. Files over ``PART_BYTES`` are put in parts."""
        where, metadata = self._where(key), check_metadata(metadata)
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        try:
            if isinstance(body, Path) and size > PART_BYTES:
                tag = self._create_in_parts(key, body, size, metadata)
            elif isinstance(body, Path) and size > _MEMORY_BYTES_MAX:
                with body.open("rb") as file, failures():
                    tag = self._client.put_object(**where, Body=file, Metadata=metadata, IfNoneMatch="*")["ETag"]
            else:
                content = body if isinstance(body, bytes) else body.read_bytes()
                with failures():
                    tag = self._client.put_object(**where, Body=content, Metadata=metadata, IfNoneMatch="*")["ETag"]
        except PreconditionFailed as failed:
            raise ObjectExists(key) from failed
        except ObjectMissing as missing:  # of a write: what is missing is nothing of ours
            raise StoreRefused("the bucket answers 404 to a write") from missing
        return Stored(key=key, size=size, tag=tag, metadata=metadata)

    def _create_in_parts(self, key: str, path: Path, size: int, metadata: dict[str, str]) -> str:
        if self.head(key) is not None:  # before gigabytes are sent for nothing
            raise ObjectExists(key)
        try:
            return self._parts.create(self._prefix + key, path, metadata)
        except StoreUnavailable:
            # The answer to the last request may have been lost. To send all again is dear, so look.
            found = self.head(key)
            if found is None or (found.size, found.metadata) != (size, metadata):
                raise
            return found.tag

    def replace(self, key: str, body: bytes, *, tag: str | None, metadata: Mapping[str, str] | None = None) -> Stored:
        """See ``ObjectStore``."""
        metadata = check_metadata(metadata)
        request = self._where(key) | {"Body": body, "Metadata": metadata} | ({} if tag is None else {"IfMatch": tag})
        try:
            with failures():
                new_tag = self._client.put_object(**request)["ETag"]
        except PreconditionFailed as failed:
            found = self._find_own(key, body) if failed.was_repeated else None
            if found is None:
                raise ObjectChanged(key) from failed
            return found
        except ObjectMissing as missing:  # there is no object of which ``tag`` could be the state
            raise ObjectChanged(key) from missing
        return Stored(key=key, size=len(body), tag=new_tag, metadata=metadata)

    def _find_own(self, key: str, body: bytes) -> Stored | None:
        """Return the present state if it is what we meant to write: then only the first answer was lost."""
        try:
            found, content = self.read(key, bytes_max=len(body))
        except (ObjectMissing, ValueError):
            return None
        return found if content == body else None

    def head(self, key: str) -> Stored | None:
        """See ``ObjectStore``."""
        try:
            with failures():
                answer = self._client.head_object(**self._where(key))
        except ObjectMissing:
            self._check_bucket()
            return None
        self._bucket_was_seen = True
        return Stored(key=key, size=answer["ContentLength"], tag=answer["ETag"], metadata=answer["Metadata"])

    def _check_bucket(self) -> None:
        """``StoreRefused`` when there is no bucket. A HEAD's 404 has no body to say so, therefore it is asked, once."""
        if self._bucket_was_seen:
            return
        try:
            with failures():
                self._client.head_bucket(Bucket=self._bucket)
        except ObjectMissing as missing:
            raise StoreRefused(f"there is no bucket {self._bucket}") from missing
        self._bucket_was_seen = True

    @contextmanager
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Opened]:
        """See ``ObjectStore``."""
        if start < 0 or (length is not None and length < 1):
            raise ValueError("a range begins at 0 or behind it, and has a length")
        request = self._where(key)
        is_range = start > 0 or length is not None
        if is_range:
            request["Range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        try:
            with failures():
                answer = self._client.get_object(**request)
        except StoreRefused as refused:
            if not _is_behind_end(refused):
                raise
            yield Opened(stored=self._known(key), pieces=iter(()))
            return
        size = _size_of_whole(answer, start) if is_range else answer["ContentLength"]
        stored = Stored(key=key, size=size, tag=answer["ETag"], metadata=answer["Metadata"])
        body = answer["Body"]
        try:
            yield Opened(stored=stored, pieces=_pieces(body, answer["ContentLength"]))
        finally:
            body.close()  # the connection can't be used again when not all was read

    def _known(self, key: str) -> Stored:
        found = self.head(key)
        if found is None:
            raise ObjectMissing(key)
        return found

    def read(self, key: str, *, bytes_max: int) -> tuple[Stored, bytes]:
        """See ``ObjectStore``."""
        with self.open(key) as opened:
            if opened.stored.size > bytes_max:
                raise ValueError(f"{key} is larger than {bytes_max} bytes")
            return opened.stored, b"".join(opened.pieces)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        """See ``ObjectStore``. A thousand keys a request, asked for when they are wanted."""
        check_prefix(prefix)
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, "MaxKeys": LIST_PAGE}
        if after:
            request["StartAfter"] = self._prefix + after
        while True:
            with failures():
                answer = self._client.list_objects_v2(**request)
            for found in answer.get("Contents", ()):
                modified_ms = int(found["LastModified"].timestamp() * 1000)
                yield Listed(key=found["Key"].removeprefix(self._prefix), size=found["Size"], modified_ms=modified_ms)
            if not answer.get("IsTruncated"):
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, keys: Iterable[str]) -> None:
        """See ``ObjectStore``."""
        remaining = iter(keys)
        while batch := list(islice(remaining, _DELETE_MAX)):
            for key in batch:
                check_key(key)
            names = [{"Key": self._prefix + key} for key in batch]
            with failures():
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})
            codes = {str(error.get("Code", "")) for error in answer.get("Errors", ())} - {"NoSuchKey"}
            if "AccessDenied" in codes:
                raise StoreRefused("DeleteObjects: AccessDenied")
            if codes:
                raise StoreUnavailable(f"DeleteObjects: {', '.join(sorted(codes))}")

    def close(self) -> None:
        """See ``ObjectStore``."""
        self._parts.close()
        self._client.close()

    def _where(self, key: str) -> dict[str, Any]:
        check_key(key)
        return {"Bucket": self._bucket, "Key": self._prefix + key}


def _pieces(body: Any, length: int) -> Iterator[bytes]:
    """Yield what is received; ``StoreUnavailable`` when the connection ends before all was."""
    left = length
    while left:
        with failures():
            piece = body.read(min(_PIECE_BYTES, left))
        if not piece:
            raise StoreUnavailable("an answer broke off")
        left -= len(piece)
        yield piece


def _size_of_whole(answer: Any, start: int) -> int:
    """Return the object's size, told beside the range that was asked for; ``StoreUnavailable`` when this is another range."""
    unit, _, rest = answer.get("ContentRange", "").partition(" ")
    first, _, size = rest.partition("-")[0], None, rest.rpartition("/")[2]
    if unit != "bytes" or first != str(start) or not size.isdigit():
        raise StoreUnavailable("another range was answered than was asked for")
    return int(size)


def _is_behind_end(refused: StoreRefused) -> bool:
    """Whether a range was refused because the object ends before it."""
    return isinstance(refused.__cause__, ClientError) and code_of(refused.__cause__) == "InvalidRange"
