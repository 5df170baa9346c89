"""What an engine leaves about a restore and its capture is a stranger's: whatever it is, the host reads it and goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.captured import CAPTURED_FILE, FILE_BYTES, Position, encode_slot, slot_offset
from engine.catalogue.lifecycle import DUE_FILE
from engine.catalogue.recovery import INTAKE_JOURNAL, RESTORE_DATABASE, RESTORED_BYTES_MAX, RESTORED_FILE, Restored
from tenants.host import last_words

HOSTILE: dict[str, Callable[[Path], Any]] = {
    "a pipe": os.mkfifo,
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a folder": Path.mkdir,
    "gigabytes": lambda path: (path.touch(), os.truncate(path, 2**33)),
    "too long": lambda path: path.write_bytes(b'{"id":"' + b"x" * RESTORED_BYTES_MAX + b'"}'),
    "nothing": Path.touch,
    "a number": lambda path: path.write_bytes(b"1e999"),
    "a long name": lambda path: path.write_bytes(b'{"id":"' + b"x" * 65 + b'"}'),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_strange_words_count_as_none(tmp_path: Path, what: str) -> None:
    HOSTILE[what](tmp_path / RESTORED_FILE)
    HOSTILE[what](tmp_path / CAPTURED_FILE)

    assert last_words.restored(tmp_path) is None
    assert last_words.captured(tmp_path) == (0, 0)


def test_honest_words_are_read(tmp_path: Path) -> None:
    (tmp_path / RESTORED_FILE).write_bytes(b'{"id":"a","memories":3}')
    write_position(tmp_path, txid=7, timestamp_ms=9)

    assert last_words.restored(tmp_path) == Restored(id="a", memories=3)
    assert last_words.captured(tmp_path) == (7, 9)


@example(txid=1, timestamp_ms=253_402_300_800_000)
@given(txid=st.integers(-(2**70), 2**70), timestamp_ms=st.integers(-(2**70), 2**70))
def test_numbers_are_such_as_can_be_told(tmp_path_factory: pytest.TempPathFactory, txid: int, timestamp_ms: int) -> None:
    folder = tmp_path_factory.mktemp("words")
    write_position(folder, txid=txid, timestamp_ms=timestamp_ms)

    captured_txid, captured_ms = last_words.captured(folder)
    assert 0 <= captured_txid < 2**63
    assert 0 <= captured_ms <= 253_402_300_799_999  # the last millisecond that anybody can be shown


@given(data=st.binary(max_size=FILE_BYTES))
def test_no_bytes_make_reading_them_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("words")
    (folder / RESTORED_FILE).write_bytes(data)
    (folder / CAPTURED_FILE).write_bytes(data)

    restored = last_words.restored(folder)
    assert restored is None or len(restored.id) <= 64
    assert all(number >= 0 for number in last_words.captured(folder))


@pytest.mark.parametrize(
    ("files", "is_at_rest"),
    [
        ((), True),
        (("memory.db",), False),
        (("memory.db", DUE_FILE), True),
        (("memory.db", DUE_FILE, RESTORE_DATABASE), False),
        (("memory.db", DUE_FILE, INTAKE_JOURNAL), False),
        ((RESTORE_DATABASE,), False),
    ],
)
def test_a_folder_is_at_rest_when_all_is_captured_and_nothing_is_to_be_taken_in(
    tmp_path: Path, files: tuple[str, ...], is_at_rest: bool
) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b'{"at":null}')

    assert last_words.is_at_rest(tmp_path) is is_at_rest


def write_position(folder: Path, *, txid: int, timestamp_ms: int) -> None:
    slot = encode_slot(Position(serial=1, txid=txid, timestamp_ms=timestamp_ms))
    (folder / CAPTURED_FILE).write_bytes(bytes(slot_offset(1)) + slot)
