"""Blobs: the files that events name, kept beside the log because the log is no place for megabytes.

- A blob is named by the SHA-256 of its bytes, as they are stored (`attachments` says what they are). It is put before
  the event that names it is appended, so an acknowledged event has its blob; one that no event names is harmless.
- The record of an event that names a blob says so in a header in the clear, `blob`: the shipper must know what belongs
  to a record without being able to open it.

A port with two adapters, `MemoryBlobs` and `directory_blobs.DirectoryBlobs`, held by tests/contract/test_blob_store.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from events.envelope import Payload
from events.errors import Corrupt, LostData

HEADER = "blob"
"""The record header that names a blob, as 64 hex digits. A record may have several."""
DOCUMENT_ATTACHED = "id.rekam.care.DocumentAttached"

_DIGEST = re.compile(rb"[0-9a-f]{64}\Z")


class BlobMissing(LostData):
    """A blob that an event names is not here."""


class BlobStore(Protocol):
    """Safe for several threads and processes. Raises Unavailable where the disk does not answer."""

    def put(self, data: bytes) -> bytes:
        """Durable on return; its digest. Twice is once; another blob is never overwritten."""
        ...

    def get(self, digest: bytes) -> bytes:
        """Raises BlobMissing; Corrupt where the bytes are not those of the digest."""
        ...

    def head(self, digest: bytes, size: int) -> bytes:
        """The first bytes of a blob, unchecked. Raises BlobMissing."""
        ...

    def holds(self, digest: bytes) -> bool: ...

    def digests(self) -> Iterator[bytes]:
        """Of all blobs, in order."""
        ...

    def remove(self, digest: bytes) -> None:
        """Gone on return; it is no error when none was there."""
        ...


class MemoryBlobs:
    """Blobs in memory: for tests, and the model of what every store does."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def put(self, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()
        self.held.setdefault(digest, data)
        return digest

    def get(self, digest: bytes) -> bytes:
        return checked(digest, self._held(digest))

    def head(self, digest: bytes, size: int) -> bytes:
        return self._held(digest)[:size]

    def _held(self, digest: bytes) -> bytes:
        if digest not in self.held:
            raise missing(digest)
        return self.held[digest]

    def holds(self, digest: bytes) -> bool:
        return digest in self.held

    def digests(self) -> Iterator[bytes]:
        yield from sorted(self.held)

    def remove(self, digest: bytes) -> None:
        self.held.pop(digest, None)


def checked(digest: bytes, data: bytes) -> bytes:
    """The bytes, if they are those of the digest. Raises Corrupt."""
    if hashlib.sha256(data).digest() != digest:
        raise Corrupt(
            f"the attachment {digest.hex()} is damaged on this machine",
            "move its file away, then 'rekam recover --to latest' brings it back from the archive",
        )
    return data


def missing(digest: bytes) -> BlobMissing:
    return BlobMissing(
        f"the attachment {digest.hex()} is not on this machine",
        "'rekam recover --to latest' brings it back, if the archive holds it",
    )


def headers_of(payload: Payload) -> tuple[tuple[str, bytes], ...]:
    """The headers of the record of an event with this payload, which is not sealed yet."""
    kind, fields = payload
    origin = fields.get("origin")
    digests = {file["blob_sha256"] for file in origin["files"]} if origin else set()
    if kind == DOCUMENT_ATTACHED and fields["blob_sha256"] is not None:
        digests.add(fields["blob_sha256"])
    return tuple((HEADER, digest.hex().encode()) for digest in sorted(digests))


def named_by(headers: Iterable[tuple[str, bytes | None]]) -> Iterator[bytes]:
    """The digests of the blobs that a record names; a foreign header of that name which is no digest names none."""
    for name, value in headers:
        if name == HEADER and value is not None and _DIGEST.match(value):
            yield bytes.fromhex(value.decode())
