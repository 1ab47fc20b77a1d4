"""Stored bytes against what names them: digests, sizes, keys. The digest decides; the rest says what happened."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

from events.avro_schema import fingerprint
from events.errors import BadInput
from replicator.auditing.findings import Finding, What
from replicator.blobs import blob_key
from replicator.copying import key_digest
from replicator.entries import (
    BlobEntry,
    CheckpointsEntry,
    Entry,
    RecipientsEntry,
    SchemaEntry,
    SegmentEntry,
    SignerEntry,
    SnapshotEntry,
    SummaryEntry,
)
from replicator.joined import joined_key
from replicator.rotations import recipients_key, says_what_its_entry_does, signer_key
from replicator.segment import segment_key
from replicator.summary import names_summary

AHEAD_BYTES = 64 * 1024 * 1024
"""Stored bytes that are asked for before they are looked at (one object is always asked for)."""

_Item = TypeVar("_Item", bound="Sized")
_Result = TypeVar("_Result")


class Sized(Protocol):
    """What knows how many bytes it will take."""

    @property
    def size_bytes(self) -> int: ...


class Stated(Protocol):
    """What names an object: an entry, or a part of a snapshot."""

    @property
    def key(self) -> str: ...
    @property
    def stored(self) -> bytes: ...
    @property
    def size_bytes(self) -> int: ...


def ahead(
    pool: Executor, items: Iterable[_Item], work: Callable[[_Item], _Result]
) -> Iterator[tuple[_Item, _Result]]:
    """(item, what work made of it), in order, many at once, within AHEAD_BYTES."""
    waiting: deque[tuple[_Item, Future[_Result]]] = deque()
    ahead_bytes = 0
    for item in items:
        while waiting and ahead_bytes + item.size_bytes > AHEAD_BYTES:
            first, future = waiting.popleft()
            yield first, future.result()
            ahead_bytes -= first.size_bytes
        waiting.append((item, pool.submit(work, item)))
        ahead_bytes += item.size_bytes
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def judge_bytes(named: Stated, found: bytes, size_bytes: int, others: Mapping[bytes, str]) -> Finding | None:
    """`found`: the digest of what stands there. `others`: digest -> key of every object that the archive names."""
    if found == named.stored and size_bytes == named.size_bytes:
        return None
    if found == named.stored:
        return Finding(What.CONTRADICTORY, named.key, f"it has {size_bytes} bytes, not {named.size_bytes}")
    other = others.get(found)
    if other is not None:
        return Finding(What.SWAPPED, named.key, f"it holds the bytes of {other}")
    if size_bytes < named.size_bytes:
        return Finding(What.TRUNCATED, named.key, f"{size_bytes} bytes are left of {named.size_bytes}")
    return Finding(What.EDITED, named.key, f"its {size_bytes} bytes are not the {named.size_bytes} committed")


def judge_key(entry: Entry) -> Finding | None:
    """An entry whose key says something else than the entry itself: who reads by keys would be misled."""
    if key_digest(entry.key) == entry.stored.hex() and _fits(entry):
        return None
    return Finding(What.CONTRADICTORY, entry.key, "its entry says something else than its key")


def _fits(entry: Entry) -> bool:
    stored = entry.stored.hex()
    if isinstance(entry, SegmentEntry):
        suffix = ".age" if entry.key.endswith(".age") else ""
        return entry.key == segment_key(
            entry.partition, entry.first, entry.stop, entry.first_time, stored, suffix
        )
    if isinstance(entry, BlobEntry):
        suffix = ".age" if entry.key.endswith(".age") else ""
        return entry.key == blob_key(entry.plain.hex(), stored, suffix)
    if isinstance(entry, SchemaEntry):
        return entry.key == f"schemas/{entry.fingerprint.hex()}-{stored}.avsc"
    if isinstance(entry, SnapshotEntry):
        return entry.key == f"snapshots/{entry.id}/{stored}.manifest.json"
    if isinstance(entry, CheckpointsEntry):
        return entry.key == joined_key(entry.first.n, entry.last.n, stored)
    if isinstance(entry, SummaryEntry):
        return names_summary(entry.key, entry.n, stored)
    if isinstance(entry, RecipientsEntry):
        return entry.key == recipients_key(stored)
    if isinstance(entry, SignerEntry):
        return entry.key == signer_key(stored)
    return True


def judge_schema(entry: SchemaEntry, data: bytes) -> Finding | None:
    """A schema under a fingerprint that is not its own would decode records into something else."""
    try:
        if fingerprint(json.loads(data)) == entry.fingerprint:
            return None
    except (ValueError, KeyError, TypeError, BadInput):
        pass
    return Finding(What.CONTRADICTORY, entry.key, "its text has another fingerprint")


def judge_rotation(entry: RecipientsEntry | SignerEntry, data: bytes) -> Finding | None:
    """An entry that says more than the object that both keys signed, or that people read."""
    if says_what_its_entry_does(entry, data):
        return None
    return Finding(What.CONTRADICTORY, entry.key, "its entry says something else than it does")


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
