"""Looking at an archive's objects, rung by rung: listing, digests, decode. Each goes on after what it finds wrong."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from events.codec import Unreadable, decode_control, decode_events
from events.errors import LostData, Refused
from events.log import Record
from events.patient_keys import KeyStore
from events.position import CONTROL, EVENTS, Position
from replicator import merkle
from replicator.archive_index import ArchiveIndex
from replicator.backups import full_of, named, needed
from replicator.entries import BlobEntry, Entry, SchemaEntry, SegmentEntry, SnapshotEntry
from replicator.examining_blobs import Files
from replicator.fetching import Named, fetch
from replicator.holes import covering
from replicator.record_bytes import encode_records
from replicator.segment import contiguous, read_blocks
from replicator.snapshot import Part, Snapshot, load_snapshot
from replicator.stores import NoSuchObject

FINDINGS = 50
"""Of those that are kept; all are counted."""
THREADS = 4

Check = Callable[[], None]
"""Called between two objects; raises whatever ends the examination."""


@dataclass
class Found:
    """What was looked at, what is wrong, and what could not be looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def add_wrong(self, text: str) -> None:
        self.counts["wrong"] += 1
        if len(self.wrong) < FINDINGS:
            self.wrong.append(text)


@dataclass(frozen=True)
class Subject:
    """The objects that are examined: those of one backup, or all that count."""

    index: ArchiveIndex
    position: Position
    entries: Sequence[Entry]
    snapshots: Sequence[Snapshot]

    @property
    def objects(self) -> list[Named]:
        return [*self.entries, *(part for snapshot in self.snapshots for part in snapshot.parts)]


def subject_of(index: ArchiveIndex, label: str | None, found: Found) -> Subject:
    """Of a backup, or (None) of all that counts. What it cannot open is found wrong. Raises Refused: no such backup."""
    position, entries = index.end(), list(index.entries)
    if label is not None:
        backup = named(index.backups, label)
        position, full = backup.position, full_of(index.backups, backup)
        reads = needed({e.key: e for e in entries}, position, full.snapshot if full else None)
        entries = [backup, *reads]
    snapshots = []
    for entry in entries:
        if isinstance(entry, SnapshotEntry):
            try:
                snapshots.append(load_snapshot(index, entry))
            except LostData as error:
                found.add_wrong(error.message)
    return Subject(index, position, entries, snapshots)


def examine_listing(subject: Subject, found: Found) -> None:
    """Every object is there with its size, and the segments join up to the position."""
    prefixes = {entry.key.split("/")[0] + "/" for entry in subject.objects}
    held = {s.key: s.size_bytes for prefix in sorted(prefixes) for s in subject.index.store.list(prefix)}
    for named_ in subject.objects:
        found.counts["objects"] += 1
        if named_.key not in held:
            found.add_wrong(f"{named_.key} is missing")
        elif held[named_.key] != named_.size_bytes:
            found.add_wrong(f"{named_.key} has {held[named_.key]} bytes, and {named_.size_bytes} were stored")
    start = subject.index.start()
    for partition, stop in subject.position.items():
        try:
            covering(subject.index.segments, partition, start[partition], stop)
        except LostData as error:
            found.add_wrong(error.message)


def examine_digests(subject: Subject, found: Found, check: Check) -> None:
    """The stored bytes of every object are those that the archive names."""

    def look(named_: Named) -> str:
        try:
            data = subject.index.store.get(named_.key)
        except NoSuchObject:
            return f"{named_.key} is missing"
        return "" if hashlib.sha256(data).digest() == named_.stored else f"{named_.key} has other bytes"

    with ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as pool:
        try:
            for named_, wrong in zip(subject.objects, pool.map(look, subject.objects), strict=True):
                check()
                found.counts["bytes"] += named_.size_bytes
                if wrong and not any(text.startswith(f"{named_.key} ") for text in found.wrong):
                    found.add_wrong(wrong)
        finally:
            pool.shutdown(cancel_futures=True)


def examine_decode(subject: Subject, found: Found, check: Check, keys: KeyStore | None = None) -> None:
    """Every record and row decodes; records are those of their segment's tree; the blobs that they name are there, and
    hold what their events say as far as `keys`, the patients', open them."""
    if subject.index.recipients and subject.index.identity_key is None:
        found.open.append("nothing was decoded: this machine does not hold the owner's identity")
        return
    files = Files(keys)
    for look in _looks(subject, found, files):
        check()
        try:
            look()
        except (LostData, Refused) as error:
            if not any(text.startswith(error.message.split(":")[0].split(" ")[0]) for text in found.wrong):
                found.add_wrong(error.message)
    for blob in files.missing(subject.index.blobs):
        found.add_wrong(f"the attachment {blob.hex()} is not in the archive, and a record names it")


def _looks(subject: Subject, found: Found, files: Files) -> Iterator[Callable[[], None]]:
    index = subject.index
    for entry in subject.entries:
        if isinstance(entry, SegmentEntry):
            yield partial(_segment, index, entry, found, files)
        elif isinstance(entry, SchemaEntry):
            yield partial(_schema, index, entry)
    for snapshot in subject.snapshots:
        for table in snapshot.tables:
            for part in table.parts:
                yield partial(_part, snapshot, table, part, found)
    for entry in subject.entries:  # now that all records were seen
        if isinstance(entry, BlobEntry):
            yield partial(_blob, index, entry, found, files)


def _schema(index: ArchiveIndex, entry: SchemaEntry) -> None:
    json.loads(fetch(index.store, entry, None))


def _blob(index: ArchiveIndex, entry: BlobEntry, found: Found, files: Files) -> None:
    found.counts["attachments_opened" if files.open(index, entry) else "attachments_closed"] += 1


def _segment(index: ArchiveIndex, entry: SegmentEntry, found: Found, files: Files) -> None:
    leaves: list[bytes] = []
    plain = fetch(index.store, entry, index.identity_key)
    blocks = read_blocks(plain, entry.key, entry.first)
    for records in contiguous(blocks, entry.first, entry.stop, entry.key):
        leaves += (merkle.leaf_hash(record) for record in encode_records(records))
        found.counts["records"] += len(records)
        if entry.partition.topic == EVENTS:
            files.add(records)
        found.counts["unreadable"] += _unreadable(entry.partition.topic, records)
    if merkle.root(leaves) != entry.root:
        found.add_wrong(f"{entry.key} holds other records than its tree says")


def _unreadable(topic: str, records: Sequence[Record]) -> int:
    """Foreign values may stand on a log: they are counted, and nothing is wrong with the archive."""
    values = [record.value for record in records]
    decoded: Iterable[object] = map(decode_control, values) if topic == CONTROL else decode_events(values)
    return sum(isinstance(value, Unreadable) for value in decoded)


def _part(snapshot: Snapshot, table: object, part: Part, found: Found) -> None:
    for rows in snapshot.read_parts(table, [part]):  # type: ignore[arg-type]
        found.counts["rows"] += len(rows)
