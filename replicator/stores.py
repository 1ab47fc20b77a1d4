"""Object stores: where an archive's objects live, and the ports that every store keeps.

Three ports, so that each part of the system (and each credential) gets only what it needs: recovery reads, shipping
creates, retention removes. Objects are written once: there is no overwriting in any port, because an archive that can
be overwritten can be lost to a mistake or a stolen credential.

Adapters (`memory_store`, `directory_store`, `s3_store`) pass one contract suite, tests/contract/test_object_store.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from events.errors import BadInput, Refused

MAX_KEY_BYTES = 900
"""S3 allows 1,024 bytes, prefix included."""
MAX_OBJECT_BYTES = 512 * 1024 * 1024
"""More than any object of an archive; checked on create, so that one put is enough."""

_PART = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*\Z")


class NoSuchObject(Refused):
    """No object is at the key."""


class AlreadyThere(Refused):
    """An object is at the key already; it was left as it is."""


class Stored(NamedTuple):
    """What a listing tells of an object."""

    key: str
    size_bytes: int
    modified: int
    """When it was stored, by the store's own clock: milliseconds since 1970 UTC."""


class Version(NamedTuple):
    """One version of an object in a bucket that keeps them, or a marker that says it was deleted."""

    key: str
    id: str
    modified: int
    size_bytes: int
    is_marker: bool
    is_latest: bool


class ObjectReader(Protocol):
    """Reading. Safe to use from many threads."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The object's bytes, or the part [start, start + length) cut at its end.

        Raises NoSuchObject, or StoreUnavailable (nothing was decided: try again).
        """
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """Objects whose key starts with `prefix` and is greater than `after`, in the order of their keys' bytes.

        Whatever was created before the call is in it; objects created or removed meanwhile may be or not.
        Raises StoreUnavailable.
        """
        ...


class ObjectCreator(Protocol):
    """Creating. Safe to use from many threads and processes."""

    def create(self, key: str, data: bytes) -> None:
        """Durable on return, all or nothing: a reader sees the whole object or none.

        Raises AlreadyThere if any object is at the key, also where that is our own earlier call whose answer was
        lost: of any number of calls for one key, at most one object comes to be. StoreUnavailable means that the
        outcome is unknown, and the same call may be tried again; Refused and BadInput are final.
        """
        ...


class ObjectRemover(Protocol):
    """Removing: for retention alone."""

    def remove(self, key: str) -> None:
        """The object is gone on return, with every version of it; it is no error when none was there.

        Raises Refused where it is locked.
        """
        ...


class ObjectKeeper(Protocol):
    """What retention decides by, and how a store holds what must not go."""

    def now(self) -> int:
        """The store's own clock, by which `Stored.modified` counts: milliseconds since 1970 UTC."""
        ...

    def extend(self, key: str) -> bool:
        """Locks an object for as long from now on as a new one would be; False where the store locks nothing.

        A lock is never shortened. Raises NoSuchObject, Refused, StoreUnavailable.
        """
        ...


class ArchiveStore(ObjectReader, ObjectCreator, ObjectKeeper, Protocol):
    """What a writer of an archive needs."""


class ObjectStore(ArchiveStore, ObjectRemover, Protocol):
    """All of them."""


def check_key(key: str) -> str:
    """The key, if every store can hold it. Raises BadInput."""
    if len(key) > MAX_KEY_BYTES or not all(_PART.match(part) for part in key.split("/")):
        raise BadInput(f"not an object's key: {key[:100]!r}", "use parts of A-Za-z0-9._=- joined by '/'")
    return key


def check_object(key: str, data: bytes) -> None:
    """Raises BadInput where a store must not take this object."""
    check_key(key)
    if len(data) > MAX_OBJECT_BYTES:
        raise BadInput(f"{key}: {len(data)} bytes are over the limit of {MAX_OBJECT_BYTES}")


def missing(key: str) -> NoSuchObject:
    return NoSuchObject(f"no object at {key}", "was it removed, or is this another archive?")


def already_there(key: str) -> AlreadyThere:
    return AlreadyThere(f"an object is at {key} already", "objects are written once")
