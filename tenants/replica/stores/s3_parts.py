"""A large file put into a bucket in parts. The file is read where it lies, so its size costs no memory."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from tenants.replica.stores.s3_failures import code_of, failures

_log = structlog.get_logger()

PART_BYTES = 16 * 2**20
"""All but the last must be of one size on R2. S3 takes 10,000 of them, so a file may have 156 GiB."""

PARTS_AT_ONCE = 4
"""Of all files together, so that snapshots leave connections for what customers wait for."""


class PartsUpload:
    """Puts files in parts. Thread-safe; ``close`` when done."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="parts")

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown(cancel_futures=True)

    def create(self, name: str, path: Path, metadata: Mapping[str, str]) -> str:
        """Put a file unless the object is there, and return its ETag.

        What was sent is taken back when it fails. A bucket should be told to forget uploads that were never completed
        (``AbortIncompleteMultipartUpload``), for when this process dies in between.
        """
        where = {"Bucket": self._bucket, "Key": name}
        with failures():
            upload = where | {"UploadId": self._client.create_multipart_upload(**where, Metadata=metadata)["UploadId"]}
        try:
            parts = self._put_parts(upload, path)
            with failures():
                answer = self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            self._abort(upload)
            raise
        return str(answer["ETag"])

    def _put_parts(self, upload: dict[str, str], path: Path) -> list[dict[str, Any]]:
        size = path.stat().st_size
        starts = range(0, size, PART_BYTES)
        under_way: list[Future[dict[str, Any]]] = [
            self._threads.submit(self._put_part, upload, path, number, start, min(PART_BYTES, size - start))
            for number, start in enumerate(starts, 1)
        ]
        try:
            return [future.result() for future in under_way]
        finally:
            for future in under_way:
                future.cancel()
            for future in under_way:  # none goes on after the upload was taken back: it would stay, and cost
                with contextlib.suppress(Exception):
                    _ = future.cancelled() or future.exception()

    def _put_part(self, upload: dict[str, str], path: Path, number: int, start: int, length: int) -> dict[str, Any]:
        with path.open("rb") as file, failures():
            body = io.BufferedReader(_Slice(file.fileno(), start, length), 256 * 1024)
            answer = self._client.upload_part(**upload, PartNumber=number, Body=body, ContentLength=length)
            return {"PartNumber": number, "ETag": answer["ETag"]}

    def _abort(self, upload: dict[str, str]) -> None:
        try:
            self._client.abort_multipart_upload(**upload)
        except (BotoCoreError, ClientError, OSError) as error:  # the first failure is what counts
            if not (isinstance(error, ClientError) and code_of(error) == "NoSuchUpload"):
                _log.warning("upload_not_taken_back", key=upload["Key"], error=str(error))


class _Slice(io.RawIOBase):
    """A range of a file, as a file."""

    def __init__(self, descriptor: int, start: int, length: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._length - self._at))
        count = os.preadv(self._descriptor, [view[:wanted]], self._start + self._at) if wanted else 0
        self._at += count
        return count
