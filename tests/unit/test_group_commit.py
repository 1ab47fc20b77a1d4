"""Group commit: who leads, who gathers and how long, and that nobody is left behind whatever becomes of the others.

What a full disk, a failed commit and the deadline do is in tests/integration/test_sqlite_log_faults.py.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from events import group_commit
from events.errors import LogUnavailable
from events.group_commit import GATHER_SECONDS, MAX_GROUP, GroupCommit


class Commits:
    """A commit that notes its groups, and stands still while it is told to."""

    def __init__(self) -> None:
        self.groups: list[list[object]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, items):
        self.groups.append(list(items))
        self.begun.release()
        assert self.go.wait(10)
        return [("done", item) for item in items]


class Interrupted:
    """A lock whose waiter gets Ctrl-C when `now` is set."""

    def __init__(self) -> None:
        self.now = threading.Event()

    def acquire(self, timeout=-1):
        assert self.now.wait(10)
        raise KeyboardInterrupt

    def release(self):
        pass


@pytest.fixture
def commits():
    return Commits()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def until_waiting(group, count):
    while len(group._waiting) < count:
        pass


def expecting(commits, count, gather_seconds=10.0):
    """A group whose last commit was one of `count` items."""
    group = GroupCommit(commits, 10)
    group._expected, group._gather_seconds = count, gather_seconds
    return group


def test_whoever_makes_the_number_full_leads(commits, pool):
    group = expecting(commits, 3)
    first = [pool.submit(group.submit, 1), pool.submit(group.submit, 2)]
    until_waiting(group, 2)
    assert commits.groups == []
    assert group.submit(3) == ("done", 3)
    assert {future.result(10) for future in first} == {("done", 1), ("done", 2)}
    assert [sorted(items) for items in commits.groups] == [[1, 2, 3]]


def test_who_gathers_in_vain_leads_those_who_came_and_waits_for_no_more_next_time(commits):
    group = expecting(commits, 3, gather_seconds=0.01)
    assert group.submit(1) == ("done", 1)
    group._gather_seconds = 10.0
    assert group.submit(2) == ("done", 2)
    assert commits.groups == [[1], [2]]


def test_nobody_gathers_longer_than_a_commit_takes(commits):
    group = GroupCommit(commits, 10)
    group.submit(1)
    assert 0 < group._gather_seconds <= GATHER_SECONDS


def test_those_who_queued_during_a_commit_are_waited_for_together_with_its_own(commits, pool):
    group = GroupCommit(commits, 10)
    commits.go.clear()
    first = pool.submit(group.submit, 1)
    assert commits.begun.acquire(timeout=10)
    second = pool.submit(group.submit, 2)
    until_waiting(group, 1)
    commits.go.set()
    assert (first.result(10), second.result(10)) == (("done", 1), ("done", 2))
    assert commits.groups == [[1], [2]]
    assert group._expected == 1


def test_a_group_is_never_larger_than_its_limit(commits, pool, monkeypatch):
    monkeypatch.setattr(group_commit, "MAX_GROUP", 4)
    group = GroupCommit(commits, 10)
    commits.go.clear()
    futures = [pool.submit(group.submit, 0)]
    assert commits.begun.acquire(timeout=10)
    futures += [pool.submit(group.submit, n) for n in range(1, 12)]
    until_waiting(group, 11)
    commits.go.set()
    assert [future.result(10) for future in futures] == [("done", n) for n in range(12)]
    assert max(len(items) for items in commits.groups) == 4 < MAX_GROUP


def test_who_comes_when_more_wait_than_one_commit_takes_leads_nobody(commits, pool, monkeypatch):
    monkeypatch.setattr(group_commit, "MAX_GROUP", 2)
    group = expecting(commits, 3, gather_seconds=0.05)
    futures = [pool.submit(group.submit, n) for n in range(3)]
    assert [future.result(10) for future in futures] == [("done", n) for n in range(3)]


def test_one_who_is_interrupted_while_it_gathers_leaves_that_to_the_next(commits, pool, monkeypatch):
    group = expecting(commits, 3)
    interrupted = Interrupted()
    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "_held", lambda: interrupted)
        first = pool.submit(group.submit, 1)
        until_waiting(group, 1)
    second = pool.submit(group.submit, 2)
    until_waiting(group, 2)
    group._gather_seconds = 0.01
    interrupted.now.set()
    with pytest.raises(KeyboardInterrupt):
        first.result(10)
    assert second.result(10) == ("done", 2)
    assert commits.groups == [[2]], "nothing is written of what nobody waits for"


@pytest.mark.parametrize("when", ["before the commit ends", "after it"])
def test_one_who_is_interrupted_keeps_nobody_of_its_group_asleep(commits, pool, monkeypatch, when):
    group = expecting(commits, 9)
    interrupted = Interrupted()
    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "_held", lambda: interrupted)
        first = pool.submit(group.submit, 0)
        until_waiting(group, 1)
    commits.go.clear()
    others = [pool.submit(group.submit, n) for n in range(1, 9)]
    assert commits.begun.acquire(timeout=10)
    if when == "before the commit ends":
        interrupted.now.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
    commits.go.set()
    while group._committing:
        pass
    interrupted.now.set()
    assert [future.result(5) for future in others] == [("done", n) for n in range(1, 9)]


def test_a_commit_that_outlasts_the_deadline_may_or_may_not_stand(commits, pool):
    group = GroupCommit(commits, 0.05)
    group._expected, group._gather_seconds = 2, 0.5
    commits.go.clear()
    futures = [pool.submit(group.submit, n) for n in (1, 2)]
    assert commits.begun.acquire(timeout=10)
    while not any(future.done() for future in futures):
        pass
    commits.go.set()
    errors = [future.exception(10) for future in futures]
    assert sorted(map(str, filter(None, errors)))[0].startswith("a commit took longer than 0.05 s")
    assert errors.count(None) == 1, "the leader knows"
    assert group.submit(3) == ("done", 3)


def test_many_writers_get_each_their_own_and_every_item_is_committed_once(pool):
    committed = []

    def commit(items):
        if len(committed) % 7 == 3:
            committed.append([])
            raise LogUnavailable("no disk", "wait")
        committed.append(list(items))
        return [item + 1 for item in items]

    group = GroupCommit(commit, 10)

    def write(writer):
        done = []
        for number in range(writer * 1000, writer * 1000 + 100):
            try:
                assert group.submit(number) == number + 1
                done.append(number)
            except LogUnavailable:
                pass
        return done

    acknowledged = [number for done in pool.map(write, range(24)) for number in done]
    assert sorted(acknowledged) == sorted(number for items in committed for number in items)
