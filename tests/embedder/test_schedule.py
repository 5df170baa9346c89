"""Whose work is next: equal shares for whoever waits, the urgent first, nothing starved and nothing lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.embedder.schedule import OWED_SHARES, Schedule, Urgency

COST_MAX = 300
RUN_MAX = 128


@dataclass(eq=False)
class Job:
    costs: Sequence[int]
    kind: str = "model"
    wanted: bool = True
    lane: str = ""
    done: list[int] = field(default_factory=list)


def take(schedule: Schedule[Job], *, pieces_max: int = 32) -> list[tuple[Job, int]]:
    return schedule.take_run(cost_max=RUN_MAX, pieces_max=pieces_max)


def add(schedule: Schedule[Job], lane: str, costs: Sequence[int], urgency: Urgency = Urgency.DOCUMENT) -> Job:
    job = Job(costs, lane=lane)
    schedule.add(urgency, lane, job)
    return job


costs = st.lists(st.integers(1, COST_MAX), min_size=1, max_size=30)
urgencies = st.sampled_from(Urgency)


Key = tuple[Urgency, str]


class Shares(RuleBasedStateMachine):
    """Requests of some lanes come, are given up and are done in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule[Job] = Schedule()
        self.waiting: dict[Key, list[Job]] = {}
        self.given: Counter[Key] = Counter()
        self.since: dict[tuple[Key, Key], tuple[int, int]] = {}
        """What two lanes had been given when the later of them began to wait."""

    @rule(urgency=urgencies, lane=st.sampled_from("abcd"), costs=costs)
    def send(self, urgency: Urgency, lane: str, costs: list[int]) -> None:
        key = (urgency, lane)
        if key not in self.waiting:
            self.waiting[key] = []
            for other in self.waiting:
                self.since[key, other] = (self.given[key], self.given[other])
                self.since[other, key] = (self.given[other], self.given[key])
        self.waiting[key].append(add(self.schedule, lane, costs, urgency))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.waiting)))
        job = data.draw(st.sampled_from(self.waiting[key]))
        job.wanted = False
        self._remove(key, job)

    @rule(pieces_max=st.integers(1, 4))
    def work(self, pieces_max: int) -> None:
        before = set(self.waiting)
        run = take(self.schedule, pieces_max=pieces_max)
        assert bool(run) == bool(before), "it works when there is work"
        total = 0
        for job, index in run:
            key = next(key for key, jobs in self.waiting.items() if job in jobs)
            assert index == len(job.done), "each piece once, in its order"
            job.done.append(index)
            total += job.costs[index]
            self.given[key] += job.costs[index]
            if len(job.done) == len(job.costs):
                self._remove(key, job)
        assert len(run) <= pieces_max
        assert len(run) == 1 or total <= RUN_MAX

    def _remove(self, key: Key, job: Job) -> None:
        self.waiting[key].remove(job)
        if not self.waiting[key]:
            del self.waiting[key]

    @invariant()
    def while_two_lanes_wait_neither_gets_more_than_two_pieces_more(self) -> None:
        for one, other in permutations(self.waiting, 2):
            if one[0] == other[0]:
                of_one, of_other = self.since[one, other]
                assert (self.given[other] - of_other) - (self.given[one] - of_one) <= 2 * COST_MAX

    def teardown(self) -> None:
        while self.waiting:
            self.work(32)
        assert take(self.schedule) == []


TestShares = Shares.TestCase


@given(st.lists(costs, min_size=1, max_size=20), st.integers(1, COST_MAX))
def test_a_lane_that_comes_waits_for_no_backlog(backlog: list[list[int]], cost: int) -> None:
    schedule: Schedule[Job] = Schedule()
    for one in backlog:
        add(schedule, "busy", one)
    take(schedule, pieces_max=1)
    newcomer = add(schedule, "newcomer", [cost])

    assert take(schedule, pieces_max=1) == [(newcomer, 0)]


@given(st.lists(st.integers(1, COST_MAX), min_size=1, max_size=40), st.integers(1, COST_MAX))
def test_coming_and_going_is_no_way_to_get_ahead(pieces: list[int], cost: int) -> None:
    """Two lanes send a piece whenever one was done, by turns, so that one of them is always new. A third gets its share."""
    schedule: Schedule[Job] = Schedule()
    patient = add(schedule, "patient", [cost])
    for number, piece in enumerate(pieces):
        add(schedule, "ab"[number % 2], [piece])
    taken = 0
    while take(schedule, pieces_max=1) != [(patient, 0)]:
        taken += 1
        add(schedule, "ab"[taken % 2], [1])

    assert taken <= 2


@given(st.sampled_from([Urgency.DOCUMENT, Urgency.BACKGROUND]), st.integers(1, COST_MAX), st.data())
def test_what_is_less_urgent_is_owed_a_share(urgency: Urgency, cost: int, data: st.DataObject) -> None:
    schedule: Schedule[Job] = Schedule()
    waiting = add(schedule, "patient", [cost], urgency)
    ahead = 0
    while True:
        more_urgent = data.draw(st.sampled_from([other for other in Urgency if other < urgency]))
        add(schedule, "eager", [data.draw(st.integers(100, COST_MAX))], more_urgent)
        run = take(schedule)
        if (waiting, 0) in run:
            break
        ahead += sum(job.costs[index] for job, index in run)

    assert ahead <= cost / OWED_SHARES[urgency] + 2 * COST_MAX


def test_queries_go_before_documents_and_these_before_what_nobody_waits_for() -> None:
    schedule: Schedule[Job] = Schedule()
    background = add(schedule, "a", [1], Urgency.BACKGROUND)
    document = add(schedule, "a", [100], Urgency.DOCUMENT)
    query = add(schedule, "a", [10], Urgency.QUERY)

    assert [take(schedule) for _ in range(4)] == [[(query, 0)], [(document, 0)], [(background, 0)], []]


def test_jobs_of_a_lane_take_turns() -> None:
    schedule: Schedule[Job] = Schedule()
    long = add(schedule, "a", [100] * 3)
    short = add(schedule, "a", [100])

    assert [take(schedule) for _ in range(4)] == [[(long, 0)], [(short, 0)], [(long, 1)], [(long, 2)]]


def test_a_run_is_of_one_kind() -> None:
    schedule: Schedule[Job] = Schedule()
    jobs = [Job([1], kind=kind) for kind in ("one", "one", "other")]
    for job in jobs:
        schedule.add(Urgency.QUERY, "a", job)

    assert [take(schedule) for _ in range(2)] == [[(jobs[0], 0), (jobs[1], 0)], [(jobs[2], 0)]]


def test_what_was_given_up_costs_its_lane_nothing() -> None:
    schedule: Schedule[Job] = Schedule()
    given_up, kept = add(schedule, "a", [300] * 5), add(schedule, "a", [300])
    other = add(schedule, "b", [300])
    given_up.wanted = False

    assert sorted(job.lane for job, _ in (take(schedule)[0], take(schedule)[0])) == ["a", "b"]
    assert kept.wanted and other.wanted
    assert take(schedule) == []
