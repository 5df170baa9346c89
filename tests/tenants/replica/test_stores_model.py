"""Both stores do what the store in memory does, which other tests use: the same calls in any order, the same outcomes."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenants.replica.objects import ObjectChanged, ObjectExists, ObjectMissing, ObjectStore
from tests.tenants.replica.memory_store import MemoryStore

KEYS = [
    "tenants/a/ltx/0000/1",
    "tenants/a/ltx/0000/2",
    "tenants/a/ltx/0009/1",
    "tenants/a/owner.json",
    "tenants/b/1",
    "nodes/n",
]
OUTCOMES = (ObjectChanged, ObjectExists, ObjectMissing)

keys = st.sampled_from(KEYS)
bodies = st.binary(max_size=40)
metadata = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]))
prefixes = keys.flatmap(lambda key: st.integers(0, len(key)).map(lambda length: key[:length]))
calls = st.one_of(
    st.tuples(st.just("create"), keys, bodies, metadata),
    st.tuples(st.just("replace"), keys, bodies, metadata, st.integers(-1, 5)),
    st.tuples(st.just("look"), keys),
    st.tuples(st.just("names"), prefixes, st.just("") | keys),
    st.tuples(st.just("delete"), st.lists(keys, max_size=3)),
)


class Run:
    """Calls on one store, beneath a prefix of its own. A tag is told as the number of the write that made the state.

    No content is written twice: on S3 it would have the same tag again.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._prefix = f"run-{uuid4().hex}/"
        self._tags: list[str] = []
        self._writes = 0

    def call(self, name: str, *arguments: object) -> object:
        """Return the outcome."""
        action: Callable[..., object] = getattr(self, name)
        try:
            return action(*arguments)
        except OUTCOMES as outcome:
            return type(outcome)

    def create(self, key: str, body: bytes, known: dict[str, str]) -> object:
        return self._seen(self._store.create(self._prefix + key, self._unique(body), known).tag)

    def replace(self, key: str, body: bytes, known: dict[str, str], write: int) -> object:
        """``write``: from the state of how many writes ago; -1 for whichever."""
        if write >= len(self._tags):
            return None
        tag = None if write < 0 else self._tags[-1 - write]
        return self._seen(self._store.replace(self._prefix + key, self._unique(body), tag=tag, metadata=known).tag)

    def look(self, key: str) -> object:
        found = self._store.head(self._prefix + key)
        stored, body = self._store.read(self._prefix + key, bytes_max=100)
        assert stored == found
        return self._tags.index(stored.tag), stored.size, stored.metadata, body

    def delete(self, gone: list[str]) -> object:
        self._store.delete([self._prefix + key for key in gone])
        return None

    def names(self, prefix: str, after: str) -> object:
        found = self._store.list(self._prefix + prefix, after=self._prefix + after if after else "")
        return [(listed.key.removeprefix(self._prefix), listed.size) for listed in found]

    def _unique(self, body: bytes) -> bytes:
        self._writes += 1
        return body + b" %d" % self._writes

    def _seen(self, tag: str) -> int:
        self._tags.append(tag)
        return len(self._tags) - 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(made=st.lists(calls, max_size=25))
def test_the_same_calls_have_the_same_outcomes(store: ObjectStore, made: list[tuple[str, object]]) -> None:
    real, model = Run(store), Run(MemoryStore())

    for call in made:
        assert real.call(*call) == model.call(*call), call
