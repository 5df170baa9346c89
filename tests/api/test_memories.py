"""Memories over REST."""

from tests.service import Account


def test_a_memory_is_created_and_read_back(account: Account) -> None:
    created = account.create("The office cat sleeps on the printer.", tags=["office/cat"], metadata={"n": 1})
    read = account.get(f"/v1/memories/{created['id']}").json()

    assert {**created, "accessed_at": None, "access_count": 0} == {**read, "accessed_at": None, "access_count": 0}
