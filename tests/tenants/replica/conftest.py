"""Object stores to test against: a folder, and a bucket of a real S3 server over HTTP. What works with one works with both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from tenants.replica.objects import ObjectStore
from tenants.replica.stores import open_store
from tests.tenants.replica.fault_proxy import FaultProxy
from tests.tenants.replica.s3_server import BUCKET, CREDENTIALS, S3Server, store_url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket."""
    with S3Server() as server:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """The address of a place in the bucket that nobody else has; open it with ``CREDENTIALS``."""
    return store_url(s3_server.endpoint, f"test-{uuid4().hex}")


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    """A proxy before the server. ``proxied_url`` leads through it."""
    with FaultProxy(s3_server.port) as running:
        yield running


@pytest.fixture
def proxied_url(proxy: FaultProxy) -> str:
    """The address of a place in the bucket that nobody else has, through the proxy."""
    return store_url(proxy.endpoint, f"test-{uuid4().hex}")


@pytest.fixture(params=["directory", "s3"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, of either kind, for who opens it more than once."""
    if request.param == "s3":
        return str(request.getfixturevalue("s3_url"))
    return f"file://{tmp_path}/objects"


@pytest.fixture
def store(store_address: str) -> Iterator[ObjectStore]:
    """An empty store, of either kind."""
    opened = open_store(store_address, CREDENTIALS)
    yield opened
    opened.close()
