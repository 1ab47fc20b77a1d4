"""One commit for all who wait: a leader commits what followers handed in meanwhile.

A durable commit costs one wait for the disk, however much it holds. Who comes alone leads at once, in its own thread,
with nothing handed over, so a lone writer pays nothing for this. Who comes while a commit is under way queues.

After a commit the others come back one by one. Were the first of them to commit at once, two halves would take turns
for ever; so it gathers: it waits until as many are there as there were before, and not for long. Whoever makes the
number full leads; only if that does not happen in time, the one who gathers does.

On a fast disk most of the time goes into waking threads: all woken at once, each sleeps a second time, for the
interpreter's lock. So the leader wakes two, and each of those wakes two more before it goes on.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from events.errors import LogUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_GROUP = 1_000
"""Items in one commit, so that one wait is never for all the others' work."""

GATHER_SECONDS = 0.0005
"""The longest that anybody gathers. It is as long as the last commit where that was faster: never twice the wait."""

_WAKES = 2


class _Request(Generic[Item, Result]):
    __slots__ = ("behind", "error", "gathers", "gone", "item", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.gathers = False
        self.gone = False
        """Whether its caller waits no more."""
        self.wake = _held()
        self.behind: Sequence[_Request[Item, Result]] = ()
        """Those of its group whom it wakes."""

    def is_done(self) -> bool:
        return self.result is not None or self.error is not None

    def outcome(self) -> Result:
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise AssertionError("a commit gives a result for each item")
        return self.result


_Group: TypeAlias = list[_Request[Item, Result]]


def _held() -> threading.Lock:
    """What one thread waits for: another one releases it, once."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class GroupCommit(Generic[Item, Result]):
    """`commit` gets items in the order they came, and gives as many results, or raises for all of them."""

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result]], deadline_seconds: float) -> None:
        self._commit = commit
        self._deadline_seconds = deadline_seconds
        self._mutex = threading.Lock()
        self._waiting: _Group[Item, Result] = []
        """While nobody commits, the first of them gathers."""
        self._committing = False
        self._expected = 1
        self._gather_seconds = 0.0

    def submit(self, item: Item) -> Result:
        """Commits the item with whoever waits. Raises what `commit` raises; LogUnavailable after the deadline."""
        request: _Request[Item, Result] = _Request(item)
        group = self._join(request) or self._follow(request)
        if group:
            self._lead(group, request)
        return request.outcome()

    def _join(self, request: _Request[Item, Result]) -> _Group[Item, Result]:
        """The group that the request leads at once, if it makes it full; else it waits."""
        with self._mutex:
            self._waiting.append(request)
            if not self._committing:
                if self._expected <= len(self._waiting) <= MAX_GROUP:
                    return self._taken()
                request.gathers = len(self._waiting) == 1
        return []

    def _taken(self) -> _Group[Item, Result]:
        """The next group, which is to be committed now. Holds the mutex."""
        self._committing = True
        group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        return group

    def _follow(self, request: _Request[Item, Result]) -> _Group[Item, Result]:
        """Waits until the request is done: no group; or gathers, and gives the group that it leads then."""
        end = time.monotonic() + self._deadline_seconds
        try:
            wake = request.wake  # another one once it is told to gather, so read before `gathers`
            if not request.gathers:
                if not wake.acquire(timeout=self._deadline_seconds):
                    return self._late(request)
                if wake is request.wake:
                    return []
            if request.wake.acquire(timeout=self._gather_seconds):
                return []
            with self._mutex:
                if request in self._waiting:
                    return self._taken()
            if request.wake.acquire(timeout=max(0.0, end - time.monotonic())):
                return []
            return self._late(request)
        finally:
            self._leave(request)

    def _late(self, request: _Request[Item, Result]) -> _Group[Item, Result]:
        """After the deadline: what can still be done. Raises LogUnavailable where that is nothing."""
        with self._mutex:
            if request in self._waiting:
                if request.gathers:
                    return self._taken()
                self._waiting.remove(request)
                raise LogUnavailable(
                    f"waited {self._deadline_seconds:g} s for the writers before us: nothing was written",
                    "try again; look whether the disk answers",
                )
            if request.is_done():
                return []
        raise LogUnavailable(
            f"a commit took longer than {self._deadline_seconds:g} s: it may or may not stand",
            "try again with the same idempotency key; look whether the disk answers",
        )

    def _leave(self, request: _Request[Item, Result]) -> None:
        """Nobody waits for the request any more: those behind it go on, also where its caller was interrupted."""
        with self._mutex:
            request.gone = True
            if not request.is_done() and request in self._waiting:
                self._waiting.remove(request)
                if request.gathers:
                    self._let_gather()
        for one in request.behind:
            one.wake.release()

    def _let_gather(self) -> None:
        """Tells the first who waits. Holds the mutex, and nobody commits."""
        if self._waiting:
            first = self._waiting[0]
            first.gathers = True
            wake, first.wake = first.wake, _held()
            wake.release()

    def _lead(self, group: _Group[Item, Result], own: _Request[Item, Result]) -> None:
        """Commits the group and hands on."""
        begun = time.monotonic()
        try:
            results = self._commit([request.item for request in group])
            for request, result in zip(group, results, strict=True):
                request.result = result
        except BaseException as error:
            for request in group:
                request.error = error if request is own else copy.copy(error)
            raise
        finally:
            self._hand_on(group, own, time.monotonic() - begun)

    def _hand_on(
        self, group: _Group[Item, Result], own: _Request[Item, Result], taken_seconds: float
    ) -> None:
        """Lets the next gather and the group's others go."""
        with self._mutex:
            self._committing = False
            self._expected = min(MAX_GROUP, len(group) + len(self._waiting))
            self._gather_seconds = min(GATHER_SECONDS, taken_seconds)
            self._let_gather()
            others = [request for request in group if request is not own and not request.gone]
            for n, request in enumerate(others, start=1):
                request.behind = others[n * _WAKES : (n + 1) * _WAKES]
        for request in others[:_WAKES]:
            request.wake.release()
