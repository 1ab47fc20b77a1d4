"""An object store in memory: for tests, and the plainest statement of what a store does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from replicator.stores import Stored, already_there, check_key, check_object, missing


class MemoryStore:
    """Keeps the contract of ObjectStore. `clock` gives milliseconds UTC."""

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        held = self._objects.get(check_key(key))
        if held is None:
            raise missing(key)
        return held[0][start : None if length is None else start + length]

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        with self._lock:
            held = sorted((k, v) for k, v in self._objects.items() if k.startswith(prefix) and k > after)
        for key, (data, modified) in held:
            yield Stored(key, len(data), modified)

    def create(self, key: str, data: bytes) -> None:
        check_object(key, data)
        with self._lock:
            if key in self._objects:
                raise already_there(key)
            self._objects[key] = (bytes(data), self._clock())

    def remove(self, key: str) -> None:
        with self._lock:
            self._objects.pop(check_key(key), None)

    def now(self) -> int:
        return self._clock()

    def extend(self, key: str) -> bool:
        if check_key(key) not in self._objects:
            raise missing(key)
        return False
