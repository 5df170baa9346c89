"""The rate limiter, on a clock that the tests turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quotas.rate_limiter import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    burst = [limiter.take("a", per_second=10, burst=50) for _ in range(51)]

    assert [decision.allowed for decision in burst] == [True] * 50 + [False]
    assert [decision.remaining for decision in burst] == [*range(49, -1, -1), 0]
    assert burst[-1].retry_after_s == 1
    assert burst[-1].reset_s == 5

    clock.now += 0.1
    assert limiter.take("a", per_second=10, burst=50).allowed
    assert not limiter.take("a", per_second=10, burst=50).allowed


def test_subjects_do_not_share() -> None:
    limiter = RateLimiter(Clock())
    for _ in range(5):
        limiter.take("a", per_second=1, burst=5)

    assert not limiter.take("a", per_second=1, burst=5).allowed
    assert limiter.take("b", per_second=1, burst=5).allowed


@given(st.lists(st.floats(0, 2), min_size=1, max_size=200), st.integers(1, 20), st.floats(0.5, 50))
def test_no_span_of_time_admits_more_than_burst_and_rate(pauses: list[float], burst: int, per_second: float) -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        if limiter.take("a", per_second=per_second, burst=burst).allowed:
            admitted.append(clock.now)

    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span_s = admitted[last] - admitted[first]
            assert last - first + 1 <= burst + span_s * per_second + 1e-3


@given(st.integers(1, 30), st.floats(0.2, 20))
def test_who_waits_as_told_is_let_in(burst: int, per_second: float) -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    while (decision := limiter.take("a", per_second=per_second, burst=burst)).allowed:
        pass
    clock.now += decision.retry_after_s

    assert limiter.take("a", per_second=per_second, burst=burst).allowed


def test_quiet_subjects_are_forgotten() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    for number in range(20_000):
        clock.now += 0.01
        limiter.take(str(number), per_second=10, burst=5)

    assert len(limiter._full_at) <= 10_001
