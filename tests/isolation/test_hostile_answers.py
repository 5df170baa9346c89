"""Answers of an engine to the host, the embedding pump and the operator: in the right form, and yet meant to do harm."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.catalogue.embedding import PENDING, PENDING_TEXTS_MAX
from engine.catalogue.lifecycle import DATABASE_CHECK, HIBERNATE, CheckReport
from engine.catalogue.memory import CONTENT_BYTES_MAX, GET
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.conversation import Breach, decode_result
from gateway.doctor import Finding, _lines
from tenants.distrust import Distrust


def told(operation: Any, answer: Any) -> Any:
    return decode_result(msgspec.Raw(msgspec.msgpack.encode(answer)), operation.result)


@pytest.mark.parametrize("idle_s", [float("nan"), -1.0, -1e308, "long", None])
def test_no_engine_can_talk_itself_awake(idle_s: Any) -> None:
    with pytest.raises(Breach):
        told(HIBERNATE, {"hibernating": False, "idle_s": idle_s})


@pytest.mark.parametrize(
    "texts",
    [
        [[1, "hash", "x" * (CONTENT_BYTES_MAX + 1)]],
        [[1, "h" * 10_000, "x"]],
        [[1, "", ""]] * (PENDING_TEXTS_MAX + 1),
        [[2**64 - 1, "hash"]],
        [["1", "hash", "x"]],
    ],
)
def test_no_engine_has_the_embedder_do_more_than_was_asked_for(texts: Any) -> None:
    with pytest.raises(Breach):
        told(PENDING, {"texts": texts})


@pytest.mark.parametrize("report", [{"problems": ["x"] * 1001}, {"problems": ["x" * 2001]}, {"memories": "many"}])
def test_no_report_is_endless(report: Any) -> None:
    with pytest.raises(Breach):
        told(DATABASE_CHECK, report)


def test_no_report_commands_the_terminal_it_is_shown_on() -> None:
    report = CheckReport(problems=["\x1b]0;owned\x07\x1b[2J", "a\r\nb\u202ec"])
    shown = _lines(Finding(database="db_x", report=report, error="\x1b[31m"))

    assert all(line.isprintable() for line in shown.split("\n"))
    assert len(shown.split("\n")) == 4


def test_no_memory_holds_what_only_one_language_knows() -> None:
    """Extension types become objects that no JSON has."""
    with pytest.raises(Breach):
        told(GET, {"metadata": {"a": msgspec.msgpack.Ext(5, b"x")}})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def broken() -> RemoteError:
    return RemoteError(ErrorCode.BROKEN, "nonsense")


def wait_s(distrust: Distrust, tenant: str = "a") -> int:
    try:
        distrust.check(tenant)
    except RemoteError as error:
        assert error.code == ErrorCode.BROKEN
        return int(error.details["retry_after"])
    return 0


def test_who_breaks_the_protocol_is_asked_more_and_more_seldom() -> None:
    clock = Clock()
    distrust = Distrust(clock)
    waits = []
    for _ in range(9):
        distrust.note("a", broken())
        waits.append(wait_s(distrust))
        clock.now += waits[-1]
        assert wait_s(distrust) == 0

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert wait_s(distrust, "b") == 0


def test_breaches_at_the_same_time_are_one_and_old_ones_are_forgiven() -> None:
    clock = Clock()
    distrust = Distrust(clock)
    for _ in range(100):
        distrust.note("a", broken())
    assert wait_s(distrust) == 1
    clock.now += 601
    distrust.note("a", broken())

    assert wait_s(distrust) == 1


@pytest.mark.parametrize("code", [code for code in ErrorCode if code != ErrorCode.BROKEN])
def test_other_errors_are_no_breach(code: ErrorCode) -> None:
    distrust = Distrust(Clock())
    distrust.note("a", RemoteError(code, "x"))

    assert wait_s(distrust) == 0


def test_distrust_itself_is_bounded() -> None:
    distrust = Distrust(Clock())
    for number in range(10_001):
        distrust.note(str(number), broken())

    assert (wait_s(distrust, "0"), wait_s(distrust, "1"), wait_s(distrust, "10000")) == (0, 1, 1)
