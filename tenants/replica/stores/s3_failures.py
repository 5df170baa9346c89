"""What a failure of S3's means to us: missing, refused, or try again later. No answer's body is repeated, only its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from urllib3.exceptions import HTTPError

from tenants.replica.objects import ObjectMissing, StoreRefused, StoreUnavailable

PRECONDITION_FAILED = 412
NOT_FOUND = 404

_REFUSED_CODES = {"NoSuchBucket", "AccessDenied", "ExpiredToken", "InvalidToken", "InvalidBucketName", "AllAccessDisabled"}

_LATER_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "NoSuchUpload"}
"""Of status 400 and 404, and yet nothing that we could ask better: the body was cut short on its way, or arrived changed."""

_LATER_STATUSES = {408, 409, 425, 429}
"""409 is ``ConditionalRequestConflict``: two wrote one key at once, and neither is said to have won."""


class PreconditionFailed(Exception):
    """The condition of a write was not met. ``was_repeated``: the first answer was lost, and may have been that it was done."""

    def __init__(self, *, was_repeated: bool) -> None:
        super().__init__()
        self.was_repeated = was_repeated


@contextmanager
def failures() -> Iterator[None]:
    """Raise for what goes wrong within: ``StoreUnavailable``, ``StoreRefused``, ``ObjectMissing``, ``PreconditionFailed``."""
    try:
        yield
    except ClientError as error:
        raise meaning(error) from error
    except ParamValidationError as error:
        raise ValueError("a request that S3 would not understand") from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise StoreRefused(str(error)) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise StoreUnavailable(type(error).__name__) from error


def code_of(error: ClientError) -> str:
    """Return S3's word for an error; of an answer without a body, its status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def meaning(error: ClientError) -> Exception:
    """Return what an answer that is an error means."""
    about: dict[str, Any] = error.response.get("ResponseMetadata", {})
    status, code = int(about.get("HTTPStatusCode", 0)), code_of(error)
    words = f"{error.operation_name}: {status} {code}"
    if status == PRECONDITION_FAILED:
        return PreconditionFailed(was_repeated=about.get("RetryAttempts", 0) > 0)
    if code in _LATER_CODES:
        return StoreUnavailable(words)
    if code in _REFUSED_CODES:
        return StoreRefused(words)
    if status == NOT_FOUND:
        return ObjectMissing()
    if status in _LATER_STATUSES or status >= 500:
        # 501 is what S3's imitations say to what they can't do: that stays so.
        return StoreRefused(words) if status == 501 else StoreUnavailable(words)
    return StoreRefused(words)
