"""Looking at the objects one by one, many at once: in threads for digests, in processes for records.

Each object is read, hashed, opened and decoded by one worker, which answers with digests and findings, never records.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from events.errors import LostData
from replicator.auditing.findings import Finding, What
from replicator.auditing.folding import Piece
from replicator.auditing.objects import ahead, judge_rotation, judge_schema
from replicator.auditing.records import Looked, look_at_part, look_at_segment
from replicator.encryption import Identity, unseal
from replicator.entries import Entry, RecipientsEntry, SchemaEntry, SegmentEntry, SignerEntry, SnapshotEntry
from replicator.snapshot import Part, TableFact, parse_snapshot
from replicator.stores import NoSuchObject, ObjectReader

THREADS = 4
Opener: TypeAlias = Callable[[], tuple[ObjectReader, Identity | None]]
"""What a worker opens for itself; it travels to other processes."""


class Task(NamedTuple):
    """One object to look at."""

    named: Entry | Part
    needed: bool
    """Whether it must be there: it counts."""
    pieces: tuple[Piece, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def size_bytes(self) -> int:
        return self.named.size_bytes


class Seen(NamedTuple):
    """What a worker says of one object."""

    digest: bytes | None
    """Of its stored bytes; None where it is missing."""
    size_bytes: int = 0
    looked: Looked = Looked()
    tables: tuple[TableFact, ...] = ()
    """Of a snapshot's manifest."""


def examine(task: Task, store: ObjectReader, identity: Identity | None, records: bool) -> Seen:
    """Raises StoreUnavailable, and Refused where the identity is not the one."""
    named = task.named
    try:
        data = store.get(named.key)
    except NoSuchObject:
        return Seen(None)
    digest = hashlib.sha256(data).digest()
    if digest != named.stored:
        return Seen(digest, len(data))
    looked = Looked()
    tables: tuple[TableFact, ...] = ()
    if isinstance(named, SchemaEntry):
        looked = Looked(tuple(filter(None, [judge_schema(named, data)])))
    elif isinstance(named, RecipientsEntry | SignerEntry):
        looked = Looked(tuple(filter(None, [judge_rotation(named, data)])))
    elif isinstance(named, SnapshotEntry):
        looked, tables = _look_at_snapshot(named, data)
    if records:
        opened = _open(task, data, identity)
        looked = Looked(looked.findings + opened.findings, opened.records, opened.fingerprints)
    return Seen(digest, len(data), looked, tables)


def _look_at_snapshot(entry: SnapshotEntry, data: bytes) -> tuple[Looked, tuple[TableFact, ...]]:
    wrong: list[Finding] = []
    tables: tuple[TableFact, ...] = ()
    with suppress(LostData):
        tables = parse_snapshot(entry, data)
    rows = sum(table.rows for table in tables)
    size = sum(part.size_bytes for table in tables for part in table.parts)
    inside = all(sum(part.rows for part in table.parts) == table.rows for table in tables)
    if not tables or (rows, size) != (entry.rows, entry.parts_bytes) or not inside:
        wrong.append(
            Finding(
                What.CONTRADICTORY, entry.key, "it is not the manifest of the snapshot that its entry says"
            )
        )
    return Looked(tuple(wrong)), tables


def _open(task: Task, data: bytes, identity: Identity | None) -> Looked:
    named = task.named
    try:
        plain = unseal(data, named.key, identity)
    except LostData as error:
        return Looked((Finding(What.CONTRADICTORY, named.key, error.message),))
    if hashlib.sha256(plain).digest() != named.plain:
        return Looked(
            (Finding(What.CONTRADICTORY, named.key, "its plain bytes are not those that are named"),)
        )
    if isinstance(named, SegmentEntry):
        return look_at_segment(named, plain, task.pieces)
    if isinstance(named, Part):
        return look_at_part(named, plain, task.columns)
    return Looked()


# Workers

_opened: tuple[ObjectReader, Identity | None] | None = None


def _start(opener: Opener) -> None:
    global _opened
    _opened = opener()


def _in_process(task: Task) -> Seen:
    assert _opened is not None
    return examine(task, *_opened, records=True)


def examine_all(
    opener: Opener, tasks: Iterable[Task], *, records: bool, workers: int
) -> Iterator[tuple[Task, Seen]]:
    """Every task with what was seen, in order. Raises as `examine`."""
    if records and workers > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start, (opener,)) as pool:
            yield from _guarded(pool, ahead(pool, tasks, _in_process))
        return
    store, identity = opener()
    with ThreadPoolExecutor(1 if records else THREADS) as threads:
        yield from _guarded(
            threads, ahead(threads, tasks, lambda task: examine(task, store, identity, records))
        )


def _guarded(
    pool: ThreadPoolExecutor | ProcessPoolExecutor, seen: Iterator[tuple[Task, Seen]]
) -> Iterator[tuple[Task, Seen]]:
    try:
        yield from seen
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
