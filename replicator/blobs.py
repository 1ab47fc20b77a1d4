"""Blobs in an archive: what records name, stored once, encrypted as segments are, and named by a checkpoint.

A blob's key begins with the digest that events know it by, so that listing tells whether it is there already, and it is
not stored again. What is there and named by no checkpoint is an orphan of a shipper that died; it is named then.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from events.blobs import BlobMissing
from events.errors import Corrupt
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.entries import BlobEntry, entry_json, parse_entry

BLOBS = "blobs/"
UPLOADS = 4
"""Blobs that are read, encrypted and stored at the same time: so many are in memory at most."""
_KEY = re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{64})-([0-9a-f]{64})(?:\.age)?\Z")


class BlobReader(Protocol):
    """`events.blobs.BlobStore`, as far as shipping needs it."""

    def get(self, digest: bytes) -> bytes: ...


class NoBlobs:
    """Where no blobs are kept, every one that a record names is missing."""

    def get(self, digest: bytes) -> bytes:
        raise BlobMissing(f"the attachment {digest.hex()} is not here: this shipper was given none")


def blob_key(plain: str, stored: str, suffix: str) -> str:
    """`plain`: the digest that events name, in hex; `stored`: of the stored bytes."""
    return f"{BLOBS}{plain[:2]}/{plain}-{stored}{suffix}"


class BlobShipping:
    """What one checkpoint does about the blobs that its records name."""

    def __init__(self, archive: Archive, blobs: BlobReader, index: ArchiveIndex | None = None) -> None:
        """`index`: the archive as it stands, where it is open already."""
        self._archive, self._blobs = archive, blobs
        self._named = None if index is None else frozenset(index.blobs)
        self._asking = threading.Lock()
        self.missing: list[bytes] = []
        """Named by a record, in no archive, and not to be had here (or damaged): what it takes heals later."""

    def entries(self, digests: Sequence[bytes]) -> list[BlobEntry]:
        """Stores what the archive lacks of these, and gives the entries that the next checkpoint must name.

        Raises StoreUnavailable, Unavailable.
        """
        if not digests:
            return []
        with ThreadPoolExecutor(UPLOADS, thread_name_prefix="blob") as pool:
            try:
                return [entry for entry in pool.map(self._entry, digests) if entry is not None]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _entry(self, digest: bytes) -> BlobEntry | None:
        """None where the archive has it already, or nobody has it."""
        for stored in self._archive.store.list(f"{BLOBS}{digest.hex()[:2]}/{digest.hex()}-"):
            if digest in self._committed():
                return None
            found = _KEY.match(stored.key)
            if found is not None:
                raw = entry_json("blob", stored.key, bytes.fromhex(found[2]), digest, stored.size_bytes)
                entry = parse_entry(raw, "a new entry")
                assert isinstance(entry, BlobEntry)
                return entry
        try:
            data = self._blobs.get(digest)
        except (BlobMissing, Corrupt):
            self.missing.append(digest)
            return None
        return self._archive.add_sealed("blob", partial(blob_key, digest.hex()), data, BlobEntry)

    def _committed(self) -> frozenset[bytes]:
        """Digests of the blobs that checkpoints name. Read only where one is met again: mostly nobody asks."""
        with self._asking:
            if self._named is None:
                store, verifiers = self._archive.store, [self._archive.verifier]
                self._named = frozenset(open_archive(store, None, None, verifiers).blobs)
            return self._named


def not_held(index: ArchiveIndex) -> Iterator[bytes]:
    """Digests of blobs that the archive's records name and that it does not hold, in order."""
    named = {digest for held in index.segments.values() for segment in held for digest in segment.blobs}
    yield from sorted(named - index.blobs.keys())
