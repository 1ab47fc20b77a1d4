"""Trying again: a decorator around an object store, so that no caller has to.

Only StoreUnavailable is tried again, with exponential, jittered pauses until a deadline; everything else is final. A
create whose answer was lost may be answered AlreadyThere the second time: callers know from the digest in the key that
these are their own bytes (and compare, for a note).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from events.errors import StoreUnavailable
from replicator.stores import ObjectStore, Stored

PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
BITE = 10_000
"""Keys of a listing that are asked for at a time."""

_Result = TypeVar("_Result")


class RetryingStore:
    """An ObjectStore that asks `store` until it answers or `patience_seconds` have passed."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._patience_seconds = patience_seconds
        self._sleep = sleep

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        return self._attempt(lambda: self._store.get(key, start, length))

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """In bites, each asked for again as a whole, going on behind the last key that came."""
        last = after
        while True:
            bite = self._attempt(partial(self._bite, prefix, last))
            yield from bite
            if len(bite) < BITE:
                return
            last = bite[-1].key

    def _bite(self, prefix: str, after: str) -> Sequence[Stored]:
        return tuple(islice(self._store.list(prefix, after), BITE))

    def create(self, key: str, data: bytes) -> None:
        self._attempt(lambda: self._store.create(key, data))

    def remove(self, key: str) -> None:
        self._attempt(lambda: self._store.remove(key))

    def now(self) -> int:
        return self._attempt(self._store.now)

    def extend(self, key: str) -> bool:
        return self._attempt(lambda: self._store.extend(key))

    def _attempt(self, call: Callable[[], _Result]) -> _Result:
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailable),
            stop=stop_before_delay(self._patience_seconds),
            wait=wait_random_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(call)
