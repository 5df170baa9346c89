"""What waits is bounded for each lane and in all."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from engine.embedder.holding import (
    CHARACTERS_MAX,
    LANE_CHARACTERS_MAX,
    LANE_REQUESTS_MAX,
    REQUESTS_MAX,
    Holding,
)
from engine.protocol import ErrorCode, RemoteError


def refused(holding: Holding, lane: str, characters: int) -> bool:
    try:
        with holding.of(lane, characters):
            return False
    except RemoteError as error:
        assert error.code == ErrorCode.OVERLOADED
        return True


def test_a_full_lane_is_refused_and_no_other() -> None:
    holding = Holding()
    with ExitStack() as held:
        for _ in range(LANE_REQUESTS_MAX):
            held.enter_context(holding.of("full", 1))

        assert refused(holding, "full", 1)
        assert not refused(holding, "other", LANE_CHARACTERS_MAX)
    assert not refused(holding, "full", 1)


def test_a_lane_holds_so_many_characters() -> None:
    holding = Holding()
    with holding.of("full", LANE_CHARACTERS_MAX - 1):
        assert refused(holding, "full", 2)
        assert not refused(holding, "full", 1)


def test_all_lanes_together_hold_no_more_than_there_is_room_for() -> None:
    holding = Holding()
    with ExitStack() as held:
        for number in range(CHARACTERS_MAX // LANE_CHARACTERS_MAX):
            held.enter_context(holding.of(number, LANE_CHARACTERS_MAX))
        assert refused(holding, "other", 1)
    with ExitStack() as held:
        for number in range(REQUESTS_MAX):
            held.enter_context(holding.of(number, 0))
        assert refused(holding, "other", 0)


def test_an_error_gives_the_place_back() -> None:
    holding = Holding()
    for _ in range(2 * LANE_REQUESTS_MAX):
        with pytest.raises(ZeroDivisionError), holding.of("lane", LANE_CHARACTERS_MAX):
            raise ZeroDivisionError
