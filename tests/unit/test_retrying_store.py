"""Retrying asks again while a store is unavailable, and for nothing else."""

import pytest

from events.errors import StoreUnavailable
from replicator import retrying
from replicator.memory_store import MemoryStore
from replicator.retrying import RetryingStore
from replicator.stores import AlreadyThere, NoSuchObject


class Flaky(MemoryStore):
    """Fails `failures` times before (or after, for a lost answer) doing the work."""

    def __init__(self, failures, *, after=False):
        super().__init__()
        self.failures, self.after, self.calls = failures, after, 0

    def _maybe(self):
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("down")

    def get(self, key, start=0, length=None):
        self._maybe()
        return super().get(key, start, length)

    def list(self, prefix, after=""):
        for n, stored in enumerate(super().list(prefix, after)):
            if n % 2:
                self._maybe()
            yield stored

    def create(self, key, data):
        if self.after:
            super().create(key, data)
        self._maybe()
        if not self.after:
            super().create(key, data)


def patient(store, pauses=None):
    return RetryingStore(store, patience_seconds=3600, sleep=(pauses if pauses is not None else []).append)


def test_it_asks_again_with_pauses():
    pauses = []
    store = Flaky(3)
    patient(store, pauses).create("a", b"1")
    assert store.get("a") == b"1"
    assert len(pauses) == 3
    assert all(0 <= pause <= retrying.LONGEST_PAUSE_SECONDS for pause in pauses)


def test_it_gives_up_at_the_deadline():
    store = Flaky(10**6)
    with pytest.raises(StoreUnavailable):
        RetryingStore(store, patience_seconds=0, sleep=lambda _: None).get("a")
    assert store.calls == 1


@pytest.mark.parametrize("error", [NoSuchObject, AlreadyThere])
def test_final_errors_are_not_tried_again(error):
    store = Flaky(0)
    store.create("a", b"1")
    pauses = []
    with pytest.raises(error):
        patient(store, pauses).get("b") if error is NoSuchObject else patient(store, pauses).create("a", b"2")
    assert pauses == []


def test_a_lost_answer_is_told_as_already_there():
    store = Flaky(1, after=True)
    with pytest.raises(AlreadyThere):
        patient(store).create("a", b"1")
    assert store.get("a") == b"1"


def test_a_listing_neither_repeats_nor_skips(monkeypatch):
    monkeypatch.setattr(retrying, "BITE", 3)
    store = Flaky(0)
    for n in range(10):
        store.create(f"k{n}", b"")
    store.failures = 4
    assert [s.key for s in patient(store).list("k")] == [f"k{n}" for n in range(10)]
    assert [s.key for s in patient(store).list("k", "k4")] == [f"k{n}" for n in range(5, 10)]
