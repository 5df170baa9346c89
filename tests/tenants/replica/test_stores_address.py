"""Addresses of object stores, and the mistakes that people make in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenants.replica.stores.address import Bucket, Directory, StoreUrlError, parse
from tests.tenants.replica.s3_server import CREDENTIALS


def test_a_folder() -> None:
    assert parse("file:///var/lib/engram", {}) == Directory(root=Path("/var/lib/engram"))
    assert parse("file:///with%20space", {}) == Directory(root=Path("/with space"))


def test_a_bucket() -> None:
    place = parse("s3://backups/engram/eu?endpoint=https://account.r2.cloudflarestorage.com&region=auto", CREDENTIALS)

    assert place == Bucket(
        bucket="backups",
        prefix="engram/eu/",
        endpoint="https://account.r2.cloudflarestorage.com",
        region="auto",
        access_key="tests",
        secret_key="not-a-secret",
    )


def test_the_region_may_come_from_the_environment() -> None:
    def region(**environment: str) -> str:
        place = parse("s3://backups", environment)
        assert isinstance(place, Bucket)
        return place.region

    assert region() == "us-east-1"
    assert region(AWS_DEFAULT_REGION="eu-west-1") == "eu-west-1"
    assert region(AWS_DEFAULT_REGION="eu-west-1", AWS_REGION="eu-central-1") == "eu-central-1"


def test_secrets_are_not_shown() -> None:
    assert "not-a-secret" not in repr(parse("s3://backups", CREDENTIALS))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "file:///"),
        ("/var/lib/engram", "file:///"),
        ("gs://bucket", "file:///"),
        ("file://relative/path", "three slashes"),
        ("file:relative", "absolute"),
        ("file:///", "folder"),
        ("file:///a/../b", "without .."),
        ("file:///a?mode=fast", "no parameters"),
        ("file:///a#b", "fragment"),
        ("s3://", "bucket's name"),
        ("s3://UPPER", "bucket's name"),
        ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/../b", "prefix"),
        ("s3://bucket/.hidden", "prefix"),
        ("s3://bucket?regoin=eu", "regoin"),
        ("s3://bucket?region=", "empty"),
        ("s3://bucket?region", "can't be read"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?endpoint=minio:9000", "endpoint"),
        ("s3://bucket?endpoint=http://", "endpoint"),
        ("s3://bucket?endpoint=http://host:port", "endpoint"),
        ("s3://bucket?endpoint=http://user:word@host", "AWS_ACCESS_KEY_ID"),
        ("s3://[bucket", "address"),
    ],
)
def test_a_mistake_is_named(url: str, words: str) -> None:
    with pytest.raises(StoreUrlError, match=words):
        parse(url, {})


def test_half_of_the_credentials_is_a_mistake() -> None:
    with pytest.raises(StoreUrlError, match="together"):
        parse("s3://bucket", {"AWS_ACCESS_KEY_ID": "only"})
