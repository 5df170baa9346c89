"""Snapshots of the control plane in the object store: numbered, never overwritten, thinned out, the newest brought back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import ErrorCode, RemoteError
from tenants.messages.replica import ShipControl
from tenants.replica.control import KEPT, KEPT_DAYS, Control, superfluous
from tenants.replica.layout import CONTROL, control_key
from tenants.replica.objects import Listed, ObjectStore
from tenants.replica.sealing import ControlSealing, Master

DAY_MS = 86_400_000


def sealing(key: int = 1) -> ControlSealing:
    return ControlSealing(Master(bytes([key]) * 32))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "spool").mkdir(parents=True)
    return tmp_path / "data"


def snapshot(data: Path, content: bytes, *, name: str = "control-" + "a" * 16) -> ShipControl:
    (data / "spool" / name).write_bytes(content)
    return ShipControl(name)


def spool(data: Path) -> set[str]:
    return {path.name for path in (data / "spool").iterdir()}


async def fetched(control: Control, data: Path) -> bytes:
    name = (await control.fetch()).name
    assert name is not None
    return (data / "spool" / name).read_bytes()


@pytest.mark.parametrize("sealed", [False, True])
async def test_the_newest_comes_back_as_it_was(store: ObjectStore, data: Path, sealed: bool) -> None:
    control = Control(store, sealing() if sealed else None, data)
    numbers = [(await control.ship(snapshot(data, content))).number for content in (b"first", b"second" * 200_000, b"third")]

    assert numbers == [1, 2, 3]
    assert await fetched(Control(store, sealing() if sealed else None, data), data) == b"third"
    with store.open(control_key(3)) as opened:
        assert (b"third" in b"".join(opened.pieces)) is not sealed


@pytest.mark.parametrize(("shipped", "wanted"), [(sealing(), sealing(2)), (sealing(), None), (None, sealing())])
async def test_a_snapshot_that_another_master_key_or_none_sealed_is_refused(
    store: ObjectStore, data: Path, shipped: ControlSealing | None, wanted: ControlSealing | None
) -> None:
    await Control(store, shipped, data).ship(snapshot(data, b"accounts and keys"))
    before = spool(data)
    with pytest.raises(RemoteError, match="ENGRAM_MASTER_KEY") as refused:
        await Control(store, wanted, data).fetch()

    assert refused.value.code == ErrorCode.UNAVAILABLE
    assert spool(data) == before


async def test_an_empty_store_has_none(store: ObjectStore, data: Path) -> None:
    assert (await Control(store, None, data).fetch()).name is None
    assert spool(data) == set()


async def test_two_who_ship_never_overwrite_each_other(store: ObjectStore, data: Path) -> None:
    one, other = Control(store, None, data), Control(store, None, data)
    contents = [f"snapshot {number}".encode() for number in range(8)]
    names = [f"control-{number:016x}" for number in range(8)]
    shipped = await asyncio.gather(
        *(
            (one if number % 2 else other).ship(snapshot(data, content, name=name))
            for number, (content, name) in enumerate(zip(contents, names, strict=True))
        )
    )

    stored = {store.read(control_key(answer.number), bytes_max=100)[1] for answer in shipped}
    assert len({answer.number for answer in shipped}) == len(contents)
    assert stored == set(contents)


async def test_what_is_called_otherwise_is_neither_counted_nor_brought(store: ObjectStore, data: Path) -> None:
    store.create(f"{CONTROL}zzz", b"no snapshot")
    control = Control(store, None, data)

    assert (await control.fetch()).name is None
    assert (await control.ship(snapshot(data, b"one"))).number == 1
    assert await fetched(control, data) == b"one"


@pytest.mark.parametrize(
    "name", ["", "control-", "../control-" + "a" * 16, "control-" + "A" * 16, "control-" + "a" * 16 + "/x"]
)
async def test_a_name_that_leads_elsewhere_is_refused(store: ObjectStore, data: Path, name: str) -> None:
    with pytest.raises(RemoteError) as refused:
        await Control(store, None, data).ship(ShipControl(name))

    assert refused.value.code == ErrorCode.INVALID


async def test_a_snapshot_that_is_not_there_is_told_apart_from_a_store_that_is_not(store: ObjectStore, data: Path) -> None:
    with pytest.raises(RemoteError) as missing:
        await Control(store, None, data).ship(ShipControl("control-" + "a" * 16))

    assert missing.value.code == ErrorCode.NOT_FOUND


def listing(ages_days: list[float], now_ms: int) -> list[Listed]:
    """Return snapshots of these ages, oldest first."""
    return [
        Listed(key=control_key(number), size=1, modified_ms=now_ms - int(age * DAY_MS))
        for number, age in enumerate(sorted(ages_days, reverse=True), 1)
    ]


@given(st.lists(st.floats(0, 200), max_size=300), st.integers(10**12, 2 * 10**12))
def test_the_newest_and_one_a_day_are_kept(ages_days: list[float], now_ms: int) -> None:
    listed = listing(ages_days, now_ms)
    gone = set(superfluous(listed, now_ms=now_ms))
    kept = [found for found in listed if found.key not in gone]

    assert listed[-KEPT:] == kept[-KEPT:]
    older = kept[:-KEPT]
    days = [found.modified_ms // DAY_MS for found in older]
    assert len(days) == len(set(days))
    assert all(found.modified_ms >= now_ms - KEPT_DAYS * DAY_MS for found in older)
    due = {found.modified_ms // DAY_MS for found in listed[:-KEPT] if found.modified_ms >= now_ms - KEPT_DAYS * DAY_MS}
    assert due == set(days)
