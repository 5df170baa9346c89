"""A bucket on its bad days: what a failure on the way, or in the store, means to who asked. Through a proxy that makes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from tenants.replica.objects import ObjectChanged, ObjectExists, ObjectMissing, StoreRefused, StoreUnavailable
from tenants.replica.stores import open_store
from tenants.replica.stores.address import Bucket, parse
from tenants.replica.stores.s3 import S3Store
from tests.tenants.replica.fault_proxy import Fault, FaultProxy
from tests.tenants.replica.s3_server import BUCKET, CREDENTIALS, S3Server, store_url

TRIES = 2
"""Of one request, by the client itself."""

PASSING = [Fault.RESET, Fault.INTERNAL, Fault.SLOW_DOWN, Fault.CONFLICT]


@pytest.fixture
def store(proxied_url: str) -> Iterator[S3Store]:
    opened = open_store(proxied_url, CREDENTIALS)
    assert isinstance(opened, S3Store)
    yield opened
    opened.close()


@pytest.fixture
def impatient_store(proxied_url: str) -> Iterator[S3Store]:
    """For tests in which nobody ever answers."""
    place = parse(proxied_url, CREDENTIALS)
    assert isinstance(place, Bucket)
    opened = S3Store(place, read_s=0.3)
    yield opened
    opened.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(33 * 2**20))
    return path


def requests(store: S3Store) -> dict[str, Callable[[], object]]:
    return {
        "PUT": lambda: store.create("new", b"content"),
        "HEAD": lambda: store.head("there"),
        "GET": lambda: store.read("there", bytes_max=100),
        "POST": lambda: store.delete(["other"]),
    }


def open_uploads(server: S3Server) -> list[object]:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        return list(client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))
    finally:
        client.close()


@pytest.mark.parametrize("method", ["PUT", "HEAD", "GET", "POST"])
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_what_may_pass_is_unavailable(store: S3Store, proxy: FaultProxy, method: str, fault: Fault) -> None:
    store.create("there", b"content")
    proxy.plan(fault, method=method, times=TRIES)

    with pytest.raises(StoreUnavailable):
        requests(store)[method]()

    proxy.clear()
    requests(store)[method]()


@pytest.mark.parametrize("method", ["PUT", "HEAD", "GET", "POST"])
def test_silence_is_unavailable(impatient_store: S3Store, proxy: FaultProxy, method: str) -> None:
    proxy.plan(Fault.SILENT, method=method, times=-1)

    with pytest.raises(StoreUnavailable):
        requests(impatient_store)[method]()


def test_silence_after_it_was_done_may_have_happened(store: S3Store, impatient_store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.SILENT_AFTER, method="PUT", times=-1)

    with pytest.raises(StoreUnavailable):
        impatient_store.create("key", b"content")

    assert store.read("key", bytes_max=100)[1] == b"content"


def test_a_body_that_came_too_slowly_for_the_store_may_pass(store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.TIMED_OUT, method="PUT", times=TRIES)

    with pytest.raises(StoreUnavailable):
        store.create("key", b"content")


@pytest.mark.parametrize("method", ["PUT", "HEAD", "GET", "POST"])
def test_what_stays_so_is_refused(store: S3Store, proxy: FaultProxy, method: str) -> None:
    proxy.plan(Fault.FORBIDDEN, method=method, times=-1)

    with pytest.raises(StoreRefused):
        requests(store)[method]()


def test_a_listing_says_so_too(store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.SLOW_DOWN, containing="list-type", times=TRIES)
    with pytest.raises(StoreUnavailable):
        list(store.list(""))

    proxy.plan(Fault.FORBIDDEN, containing="list-type")
    with pytest.raises(StoreRefused):
        list(store.list(""))


def test_a_store_that_is_down_and_comes_back(store: S3Store, proxy: FaultProxy) -> None:
    store.create("there", b"content")
    proxy.down()
    for action in requests(store).values():
        with pytest.raises(StoreUnavailable):
            action()

    proxy.up()

    for action in requests(store).values():
        action()


def test_one_reset_is_not_noticed(store: S3Store, proxy: FaultProxy) -> None:
    """A connection that lay idle was closed by the other side: nobody need wait for that."""
    rule = proxy.plan(Fault.RESET, method="PUT")

    store.create("key", b"content")

    assert rule.spoiled == 1


def test_a_lost_answer_to_a_creation_looks_like_anothers(store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.LOST, method="PUT")

    with pytest.raises(ObjectExists):
        store.create("key", b"content", {"engram-batch": "mine"})

    found = store.head("key")
    assert found is not None
    assert found.metadata == {"engram-batch": "mine"}


def test_all_answers_lost_may_have_happened(store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.LOST, method="PUT", times=TRIES)

    with pytest.raises(StoreUnavailable):
        store.create("key", b"content")

    assert store.read("key", bytes_max=100)[1] == b"content"


def test_a_lost_answer_to_a_replacement_is_found_out(store: S3Store, proxy: FaultProxy) -> None:
    tag = store.create("owner.json", b"first").tag
    proxy.plan(Fault.LOST, method="PUT")

    replaced = store.replace("owner.json", b"second", tag=tag, metadata={"number": "2"})

    assert replaced == store.head("owner.json")


def test_another_who_replaced_it_is_not_taken_for_us(store: S3Store, proxy: FaultProxy, proxied_url: str) -> None:
    tag = store.create("owner.json", b"first").tag
    proxy.plan(Fault.RESET, method="PUT")
    proxy.plan(Fault.PRECONDITION, method="PUT")

    with pytest.raises(ObjectChanged):
        store.replace("owner.json", b"second", tag=tag)


@pytest.mark.parametrize("size", [7, 3 * 2**20])
def test_half_an_upload_is_no_object(store: S3Store, proxy: FaultProxy, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    rule = proxy.plan(Fault.CUT_UPLOAD, method="PUT", times=TRIES)

    with pytest.raises(StoreUnavailable):
        store.create("key", path)

    assert rule.spoiled == TRIES
    assert store.head("key") is None
    store.create("key", path)
    assert store.read("key", bytes_max=size)[1] == path.read_bytes()


def test_half_an_answer_is_noticed(store: S3Store, proxy: FaultProxy) -> None:
    store.create("key", os.urandom(2**20))
    proxy.plan(Fault.TRUNCATED, method="GET", times=2)

    with pytest.raises(StoreUnavailable):
        store.read("key", bytes_max=2**20)
    with pytest.raises(StoreUnavailable), store.open("key", start=100, length=2**19) as opened:
        list(opened.pieces)


def test_a_slow_answer_is_an_answer(store: S3Store, proxy: FaultProxy) -> None:
    content = os.urandom(2**20)
    store.create("key", content)
    proxy.plan(Fault.SLOW, method="GET")

    assert store.read("key", bytes_max=2**20)[1] == content


def test_a_large_file_comes_through_a_few_failures(store: S3Store, proxy: FaultProxy, large: Path) -> None:
    for number, fault in enumerate([Fault.RESET, Fault.LOST, Fault.SLOW_DOWN], 1):
        proxy.plan(fault, method="PUT", containing=f"partNumber={number}")
    proxy.plan(Fault.LOST, method="POST", containing="uploadId")

    created = store.create("large", large, {"engram-batch": "mine"})

    assert created == store.head("large")
    assert store.read("large", bytes_max=2**26)[1] == large.read_bytes()


@pytest.mark.parametrize("fault", [Fault.INTERNAL, Fault.CONFLICT, Fault.CUT_UPLOAD], ids=lambda fault: fault.name)
def test_a_large_file_that_fails_leaves_nothing(
    store: S3Store, proxy: FaultProxy, large: Path, s3_server: S3Server, fault: Fault
) -> None:
    proxy.plan(fault, method="PUT", containing="partNumber=2", times=TRIES)

    with pytest.raises(StoreUnavailable):
        store.create("large", large)

    assert store.head("large") is None
    assert open_uploads(s3_server) == []


def test_a_large_file_that_was_completed_unheard_is_not_sent_again(store: S3Store, proxy: FaultProxy, large: Path) -> None:
    proxy.plan(Fault.LOST, method="POST", containing="uploadId", times=TRIES)

    created = store.create("large", large, {"engram-batch": "mine"})

    assert created == store.head("large")


def test_a_large_file_of_anothers_is_not_taken_for_ours(
    store: S3Store, proxy: FaultProxy, large: Path, s3_server: S3Server
) -> None:
    """While parts are sent the other's comes to be there, and the failure that follows tells nothing."""
    proxy.plan(Fault.CONFLICT, method="POST", containing="uploadId", times=TRIES)
    with pytest.raises(StoreUnavailable):
        store.create("large", large, {"engram-batch": "mine"})

    store.create("large", b"another's", {"engram-batch": "another's"})

    with pytest.raises(ObjectExists):
        store.create("large", large, {"engram-batch": "mine"})
    assert open_uploads(s3_server) == []


def test_a_bucket_that_is_not_there(s3_server: S3Server) -> None:
    store = open_store(store_url(s3_server.endpoint, "prefix", bucket="no-such-bucket"), CREDENTIALS)
    for action in (
        lambda: store.create("key", b""),
        lambda: store.replace("key", b"", tag=None),
        lambda: store.replace("key", b"", tag='"tag"'),
        lambda: store.head("key"),
        lambda: store.read("key", bytes_max=1),
        lambda: list(store.list("")),
        lambda: store.delete(["key"]),
    ):
        with pytest.raises(StoreRefused):
            action()
    store.close()


def test_whether_there_is_a_bucket_is_asked_once(store: S3Store) -> None:
    for key in ("a", "b", "c"):
        assert store.head(key) is None

    assert store.requests["head"] == 4


def test_without_credentials_it_is_refused(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = open_store(store_url(s3_server.endpoint, "prefix"), {})

    with pytest.raises(StoreRefused, match="credentials"):
        store.head("key")
    store.close()


def test_a_bit_that_flips_on_the_way_back_is_anothers_to_notice(store: S3Store, proxy: FaultProxy) -> None:
    """The store checks lengths. What an object holds is known by its digest, which is for who reads it to compare."""
    store.create("key", b"content")
    proxy.plan(Fault.FLIPPED, method="GET")

    assert store.read("key", bytes_max=10)[1] != b"content"


def test_every_try_is_counted(store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.INTERNAL, method="PUT")

    store.create("key", b"content")

    assert store.requests["put"] == len([method for method, _ in proxy.requests if method == "PUT"]) == TRIES


def test_what_is_small_costs_one_round_trip(store: S3Store, proxy: FaultProxy) -> None:
    store.create("key", b"content")

    assert [method for method, _ in proxy.requests] == ["PUT"]


def test_what_is_missing_stays_so_whatever_else_fails(store: S3Store, proxy: FaultProxy) -> None:
    proxy.plan(Fault.SLOW_DOWN, method="GET")

    with pytest.raises(ObjectMissing):
        store.read("nothing", bytes_max=1)
