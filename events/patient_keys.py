"""The keys of patients: which there are, and which are destroyed for ever.

A port with two adapters, `MemoryKeys` and `sqlite_keys.SqliteKeys`, held by tests/contract/test_patient_keys.py.

- A key belongs to one stream and is named by 16 random bytes. It is never overwritten: it stands, or it is destroyed,
  and a destroyed one leaves its name behind, so that nothing (an old backup, another process) brings it back.
- A stream may have several keys; the newest that stands seals, every one that stands opens.
- Beside the keys stand marks: what holds for a stream whatever a rewind does to its history (erased, restricted).
- Everything that changes gets a rising number, so that a backup can ask for what is new to it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from events.clock import Clock, wall_millis
from events.errors import Refused

SECRET_BYTES = 32
KEY_ID_BYTES = 16
ERASED = "erased"
"""The mark of a stream whose patient is erased."""


class Erased(Refused):
    """The patient of this stream was erased: nothing is written about them any more."""


class Key(NamedTuple):
    """A key that stands. Its repr shows no secret."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"


class KeptKey(NamedTuple):
    """A key as stores and backups keep it."""

    id: str
    """32 hex digits."""
    stream: str
    made_at: int
    """Milliseconds UTC."""
    secret: bytes | None
    """None where it is destroyed."""

    def __repr__(self) -> str:
        return f"KeptKey({self.id}, {'destroyed' if self.secret is None else 'stands'})"


class Mark(NamedTuple):
    """What holds for a stream. `body` is JSON; its `at` (milliseconds UTC) says which of two is newer."""

    stream: str
    name: str
    body: Mapping[str, Any]


class Changes(NamedTuple):
    """What changed behind a number, up to and with `through`."""

    keys: list[KeptKey]
    marks: list[Mark]
    through: int
    total: int
    """How many keys and marks there are in all: it never falls."""


class KeyStore(Protocol):
    """Safe for several threads and processes. Raises KeysUnavailable, Corrupt."""

    def make(self, streams: Collection[str]) -> dict[str, Key]:
        """The key that seals for each stream, made for those that have none that stands; durable on return.

        Raises Erased for a stream that is marked so.
        """
        ...

    def find(self, key_id: str) -> bytes | None:
        """The secret of a key that stands."""
        ...

    def keys_of(self, stream: str) -> list[KeptKey]:
        """All of a stream's keys, the destroyed ones too, oldest first."""
        ...

    def destroy(self, stream: str, mark: Mark) -> list[str]:
        """Every key of a stream is gone on return, and the stream is marked; the ids of all its keys.

        A stream without a key gets a destroyed one, so that there is a name for what happened.
        """
        ...

    def destroy_keys(self, key_ids: Collection[str], body: Mapping[str, Any]) -> list[str]:
        """The same for all streams that these keys belong to; those that it changed. `body`: their marks'."""
        ...

    def marks(self, name: str) -> dict[str, Mark]:
        """stream -> the mark of that name."""
        ...

    def put_mark(self, mark: Mark) -> None:
        """Durable on return; a newer one in its place stays."""
        ...

    def missed(self, keys: Mapping[str, str]) -> None:
        """Notes that events are sealed under keys (id -> stream) that are not here."""
        ...

    def missing(self) -> dict[str, str]:
        """key id -> stream, of those that were noted and are still not here."""
        ...

    def returned(self) -> dict[str, str]:
        """key id -> stream, of those that were noted and are here now: what was folded without them is to be again."""
        ...

    def forget_missed(self, key_ids: Collection[str]) -> None: ...

    def version(self) -> object:
        """Another value once anything may have changed, by whomever."""
        ...

    def changes(self, after: int) -> Changes: ...

    def merge(self, keys: Iterable[KeptKey], marks: Iterable[Mark]) -> list[str]:
        """Takes in what a backup held: what is destroyed here stays so. The streams of which a key came back."""
        ...

    def backed_up(self, place: str) -> int:
        """The number up to which `place` holds everything; 0 where it holds nothing."""
        ...

    def set_backed_up(self, place: str, through: int) -> None: ...

    def close(self) -> None: ...


def refuse_erased(streams: Iterable[str]) -> None:
    if any(True for _ in streams):
        raise Erased(
            "the patient of this stream was erased", "register them anew: their new record has its own stream"
        )


class MemoryKeys:
    """Keys in memory: for tests, and the model of what every store does."""

    def __init__(self, clock: Clock = wall_millis, random: Callable[[int], bytes] = os.urandom) -> None:
        self._clock, self._random = clock, random
        self._lock = threading.RLock()
        self._keys: dict[str, tuple[KeptKey, int]] = {}
        self._marks: dict[tuple[str, str], tuple[Mark, int]] = {}
        self._missing: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._number = 0

    def make(self, streams: Collection[str]) -> dict[str, Key]:
        with self._lock:
            refuse_erased(stream for stream in streams if (stream, ERASED) in self._marks)
            standing = {k.stream: Key(k.id, k.secret) for k, _ in self._keys.values() if k.secret is not None}
            for stream in sorted(set(streams) - standing.keys()):
                key = Key(self._random(KEY_ID_BYTES).hex(), self._random(SECRET_BYTES))
                self._put(KeptKey(key.id, stream, self._clock(), key.secret))
                standing[stream] = key
            return {stream: standing[stream] for stream in streams}

    def _put(self, key: KeptKey) -> None:
        self._number += 1
        self._keys[key.id] = key, self._number

    def find(self, key_id: str) -> bytes | None:
        with self._lock:
            found = self._keys.get(key_id)
            return None if found is None else found[0].secret

    def keys_of(self, stream: str) -> list[KeptKey]:
        with self._lock:
            return [key for key, _ in self._keys.values() if key.stream == stream]

    def destroy(self, stream: str, mark: Mark) -> list[str]:
        with self._lock:
            held = self.keys_of(stream)
            if not held:
                held = [KeptKey(self._random(KEY_ID_BYTES).hex(), stream, self._clock(), None)]
                self._put(held[0])
            for key in held:
                if key.secret is not None:
                    self._put(key._replace(secret=None))
            self.put_mark(mark)
            return [key.id for key in held]

    def destroy_keys(self, key_ids: Collection[str], body: Mapping[str, Any]) -> list[str]:
        with self._lock:
            streams = sorted({self._keys[i][0].stream for i in key_ids if i in self._keys})
            changed = []
            for stream in streams:
                stood = any(key.secret is not None for key in self.keys_of(stream))
                if stood or (stream, ERASED) not in self._marks:
                    self.destroy(stream, Mark(stream, ERASED, body))
                    changed.append(stream)
            return changed

    def marks(self, name: str) -> dict[str, Mark]:
        with self._lock:
            return {stream: mark for (stream, of), (mark, _) in self._marks.items() if of == name}

    def put_mark(self, mark: Mark) -> None:
        with self._lock:
            held = self._marks.get((mark.stream, mark.name))
            if held is None or (held[0].body["at"] <= mark.body["at"] and held[0].body != mark.body):
                self._number += 1
                self._marks[mark.stream, mark.name] = mark, self._number

    def missed(self, keys: Mapping[str, str]) -> None:
        with self._lock:
            self._missing |= keys

    def missing(self) -> dict[str, str]:
        with self._lock:
            return {key: stream for key, stream in self._missing.items() if key not in self._keys}

    def returned(self) -> dict[str, str]:
        with self._lock:
            return {key: stream for key, stream in self._missing.items() if key in self._keys}

    def forget_missed(self, key_ids: Collection[str]) -> None:
        with self._lock:
            for key_id in key_ids:
                self._missing.pop(key_id, None)

    def version(self) -> object:
        return self._number

    def changes(self, after: int) -> Changes:
        with self._lock:
            keys = [key for key, number in self._keys.values() if number > after]
            marks = [mark for mark, number in self._marks.values() if number > after]
            return Changes(keys, marks, self._number, len(self._keys) + len(self._marks))

    def merge(self, keys: Iterable[KeptKey], marks: Iterable[Mark]) -> list[str]:
        back = set()
        with self._lock:
            for mark in marks:
                self.put_mark(mark)
            for key in keys:
                held = self._keys.get(key.id)
                if (key.stream, ERASED) in self._marks:
                    key = key._replace(secret=None)
                if held is None or (held[0].secret is not None and key.secret is None):
                    self._put(key)
                    back |= {key.stream} if key.secret is not None else set()
        return sorted(back)

    def backed_up(self, place: str) -> int:
        return self._places.get(place, 0)

    def set_backed_up(self, place: str, through: int) -> None:
        with self._lock:
            self._places[place] = max(through, self._places.get(place, 0))

    def close(self) -> None:
        """Nothing to let go of."""
