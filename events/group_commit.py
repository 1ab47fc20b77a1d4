"""One commit for all who wait: a leader commits what followers handed in meanwhile.

A durable commit costs one wait for the disk, however much it holds. Who comes alone leads at once, in its own thread,
with nothing handed over, so a lone writer pays nothing for this. Who comes while a commit is under way queues; when
the commit ends, the first in the queue leads the next one, with everybody who queued up by then.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from events.errors import LogUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_GROUP = 1_000
"""Items in one commit, so that one wait is never for all the others' work."""


GATHER_SECONDS = 0.0005
"""How long a leader who came after others waits for as many as there were: about as long as a commit."""


class _Request(Generic[Item, Result]):
    __slots__ = ("error", "item", "leads", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.wake: threading.Lock | None = None


class GroupCommit(Generic[Item, Result]):
    """`commit` gets items in the order they came, and gives as many results, or raises for all of them."""

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result]], deadline_seconds: float) -> None:
        self._commit = commit
        self._deadline_seconds = deadline_seconds
        self._mutex = threading.Lock()
        self._waiting: list[_Request[Item, Result]] = []
        self._led = False
        self._group_size = self._expected = 0
        self._gathered: threading.Lock | None = None

    def submit(self, item: Item) -> Result:
        """Commits the item with whoever waits. Raises what `commit` raises; LogUnavailable after the deadline."""
        request: _Request[Item, Result] = _Request(item)
        with self._mutex:
            self._waiting.append(request)
            if self._led:
                request.wake = threading.Lock()
                request.wake.acquire()
                if self._gathered is not None and len(self._waiting) >= self._expected:
                    self._gathered.release()
                    self._gathered = None
            else:
                self._led = request.leads = True
        if request.wake is not None:
            self._follow(request, request.wake)
        if request.leads:
            self._lead(request)
        return self._outcome(request)

    def _follow(self, request: _Request[Item, Result], wake: threading.Lock) -> None:
        """Waits until the request is done, or leads."""
        if wake.acquire(timeout=self._deadline_seconds):
            return
        with self._mutex:
            if request in self._waiting and not request.leads:
                self._waiting.remove(request)
                raise LogUnavailable(
                    f"waited {self._deadline_seconds:g} s for the writers before us: nothing was written",
                    "try again; look whether the disk answers",
                )
            if request.leads or request.result is not None or request.error is not None:
                return
        raise LogUnavailable(
            f"a commit took longer than {self._deadline_seconds:g} s: it may or may not stand",
            "try again with the same idempotency key; look whether the disk answers",
        )

    def _lead(self, own: _Request[Item, Result]) -> None:
        """Commits one group, our own request first in it, and hands on."""
        self._gather()
        with self._mutex:
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            self._group_size = len(group)
        try:
            results = self._commit([request.item for request in group])
            for request, result in zip(group, results, strict=True):
                request.result = result
        except BaseException as error:
            for request in group:
                request.error = error if request is own else copy.copy(error)
            raise
        finally:
            self._hand_on()
            for request in group:
                if request.wake is not None and request is not own:
                    request.wake.release()

    def _gather(self) -> None:
        """Lets those come back in whom the last commit has just let go, else two halves would take turns."""
        with self._mutex:
            if len(self._waiting) >= self._expected:
                return
            self._gathered = threading.Lock()
            self._gathered.acquire()
            gathered = self._gathered
        gathered.acquire(timeout=GATHER_SECONDS)
        with self._mutex:
            self._gathered = None

    def _hand_on(self) -> None:
        with self._mutex:
            self._led = bool(self._waiting)
            self._expected = self._group_size + len(self._waiting)
            following = self._waiting[0] if self._waiting else None
            if following is not None:
                following.leads = True
                if following.wake is not None:
                    following.wake.release()

    @staticmethod
    def _outcome(request: _Request[Item, Result]) -> Result:
        if request.error is not None:
            raise request.error
        if request.result is None:
            raise AssertionError("a commit gives a result for each item")
        return request.result
