"""Reading objects of an archive, verified: digests of the stored and of the plain bytes, many at once, bounded.

Hashing, decrypting and waiting for the store happen in threads, ahead of whoever consumes; decoding is left to the
consumer, so that what waits is compact.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from events.errors import ArchiveGap, Corrupt
from replicator.encryption import Identity, unseal
from replicator.stores import NoSuchObject, ObjectReader

FETCH_THREADS = 4
PREFETCH_BYTES = 48 * 1024 * 1024
"""Stored bytes that are asked for before they are consumed (one object is always asked for)."""


class Named(Protocol):
    """What names an object and its digests: an entry, or a part of a snapshot."""

    @property
    def key(self) -> str: ...
    @property
    def stored(self) -> bytes: ...
    @property
    def plain(self) -> bytes: ...
    @property
    def size_bytes(self) -> int: ...


_Named = TypeVar("_Named", bound=Named)


def fetch(store: ObjectReader, named: Named, identity: Identity | None) -> bytes:
    """The plain bytes of one object.

    Raises ArchiveGap where it is missing, Corrupt where its bytes are not those that the archive names, Refused where
    it cannot be opened, StoreUnavailable.
    """
    try:
        stored = store.get(named.key)
    except NoSuchObject:
        raise ArchiveGap(
            f"{named.key} is missing", "something removed it: compare with another copy of the archive"
        ) from None
    if hashlib.sha256(stored).digest() != named.stored:
        raise Corrupt(
            f"{named.key}: its {len(stored)} bytes are not the {named.size_bytes} that were stored",
            "compare with another copy of the archive",
        )
    plain = unseal(stored, named.key, identity)
    if plain is not stored and hashlib.sha256(plain).digest() != named.plain:
        raise Corrupt(f"{named.key}: what it decrypts to is not what was encrypted")
    if plain is stored and named.plain != named.stored:
        raise Corrupt(f"{named.key} is named as encrypted, and is not")
    return plain


def fetch_ahead(
    store: ObjectReader, wanted: Iterable[_Named], identity: Identity | None
) -> Iterator[tuple[_Named, bytes]]:
    """(what names it, plain bytes), in the order wanted. Raises as `fetch`, when its turn comes."""
    waiting: deque[tuple[_Named, Future[bytes]]] = deque()
    ahead_bytes = 0
    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        try:
            for named in wanted:
                while waiting and ahead_bytes + named.size_bytes > PREFETCH_BYTES:
                    first, future = waiting.popleft()
                    yield first, future.result()
                    ahead_bytes -= first.size_bytes
                waiting.append((named, pool.submit(fetch, store, named, identity)))
                ahead_bytes += named.size_bytes
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
