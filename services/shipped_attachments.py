"""Which attachments the archive should hold and does not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from events.blobs import BlobStore, named_by
from events.log import LogReader
from events.patient_keys import ERASED, KeyStore
from replicator.archive import ArchiveIndex
from replicator.blobs import not_held


@dataclass(frozen=True)
class NotShipped:
    """Blobs that archived records name and the archive does not hold."""

    waiting: int = 0
    """They are here, and the shipper takes them next."""
    missing: int = 0
    """They are not here either."""


def not_shipped(blobs: BlobStore, keys: KeyStore, log: LogReader | None, index: ArchiveIndex) -> NotShipped:
    """Those of erased patients do not count: nobody can read them, and nobody is to have them."""
    wanted = set(not_held(index))
    if not wanted:
        return NotShipped()
    here = {digest for digest in wanted if blobs.holds(digest)}
    gone = wanted - here
    erased = {stream.encode() for stream in keys.marks(ERASED)}
    if gone and erased and log is not None:
        gone -= _named_by_streams(log, index, gone, erased)
    return NotShipped(len(here), len(gone))


def _named_by_streams(
    log: LogReader, index: ArchiveIndex, digests: Collection[bytes], streams: Collection[bytes]
) -> set[bytes]:
    """Which of the blobs belong to records of these streams, as the log has them."""
    found: set[bytes] = set()
    segments = [s for held in index.segments.values() for s in held if not set(s.blobs).isdisjoint(digests)]
    for segment in segments:
        for batch in log.read(segment.partition, segment.first, segment.stop):
            for record in batch:
                if record.key in streams:
                    found.update(named_by(record.headers))
    return found
