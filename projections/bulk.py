"""Rebuilding all tables from the log or the archive, in bulk, beside the live ones.

Pass 1 reads the records once and spills them, undecoded, into buckets of whole streams. Pass 2 judges and folds one
bucket after another (in as many processes as there are workers) and writes rows that are final; indexes come last,
then the swap. So memory is bounded by a bucket, time is linear in records, and the result is what the projector would
have made: the same rows, verdicts and lists.

From a snapshot, its rows are loaded and only the tail behind it is folded, if the snapshot's chain can be continued to
the position's (rules.usable). The tables of records then serve; `complete_journal` fills the journal afterwards.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from events.clock import Clock, wall_micros
from events.errors import LostData, Refused
from events.log import LogReader
from events.position import CONTROL, CONTROL_PARTITION, Position
from events.rules import Effect, Rewind, usable
from events.sealing import SHUT, Reveal
from projections.definition import Define, Definition
from projections.fresh import Fresh, OpenWriter, fresh_beside
from projections.lease import REBUILD
from projections.loading import Loaded, Write, begin_worker, load_bucket, without_collector
from projections.projector import control_rows
from projections.snapshot_loading import OpenSnapshot, Sharing, Snapshot, load_tables, shared_pool
from projections.spill import Bucket, Plan, Range, Spilling, spill
from projections.store import IDENTITY, JOURNAL_FROM, LAYOUT, Tables, layout_of
from projections.system_tables import (
    ACCESS_LOG,
    CURSOR,
    JOURNAL,
    LEASE,
    META,
    STREAMS,
    SYSTEM_TABLES,
    UNREADABLE,
)
from projections.system_tables import (
    CONTROL as CONTROL_TABLE,
)
from projections.tail import OpenSource, Tail, fold_tail

BUCKET_RECORDS = 100_000
MOST_BUCKETS = 512

Tell: TypeAlias = Callable[[str, int, int], None]
"""(stage, done, of how many)"""


class Rebuilt(NamedTuple):
    position: Position
    records: int
    applied: int
    """Events folded: from a snapshot, those of the tail."""
    journal_complete: bool


def rebuild(
    open_source: OpenSource,
    position: Position,
    tables: Tables,
    *,
    workers: int = 1,
    snapshot: Snapshot | None = None,
    open_snapshot: OpenSnapshot | None = None,
    identity: Mapping[str, str] | None = None,
    progress: Tell | None = None,
    clock: Clock = wall_micros,
    scratch: Path | None = None,
) -> Rebuilt:
    """Makes all tables anew as they are at `position`, and swaps them in.

    `snapshot`: where to begin; `open_snapshot` opens it in other processes, without it one process loads it.
    `identity`: of the log that the tables will follow, if it is not the source's own. `scratch`: where temporary files
    go. The live tables serve meanwhile and may even move on: a projector goes on from `position` after the swap.
    Raises LostData where the source ends before `position` or lacks records, Refused where the snapshot does not lead
    there, Busy where another rebuild runs or writers do not come to rest. Whatever is raised, nothing was changed.
    """
    with closing(open_source()) as source, alone(tables, clock):
        end = source.end()
        if not end.covers(position):
            raise LostData(f"the source ends at {end}, before {position}", "choose an earlier position")
        with fresh_beside(tables) as fresh, without_collector():
            job = _Job(open_source, source, position, tables, fresh, workers, progress, scratch)
            loaded = job.load() if snapshot is None else job.load_from(snapshot, open_snapshot)
            job.settle(dict(source.identity() if identity is None else identity), snapshot is None)
            fresh.swap()
    return Rebuilt(position, loaded.records, loaded.applied, snapshot is None)


@contextmanager
def alone(tables: Tables, clock: Clock) -> Iterator[None]:
    with tables.database.writing():
        tables.take_lease(clock(), keep=True, name=REBUILD)
    try:
        yield
    finally:
        tables.release_lease(REBUILD)


class _Job:
    """One rebuild."""

    def __init__(
        self,
        open_source: OpenSource,
        source: LogReader,
        position: Position,
        tables: Tables,
        fresh: Fresh,
        workers: int,
        progress: Tell | None,
        scratch: Path | None,
    ) -> None:
        self.open_source = open_source
        self.source = source
        self.position = position
        self.tables = tables
        self.fresh = fresh
        self.workers = workers
        self.tell = progress or (lambda stage, done, total: None)
        self.scratch = scratch

    def load(self) -> Loaded:
        """Everything from the first record on."""
        effect = Effect(self._control(), self.position)
        work = Work(
            self.open_source, self.fresh.writer(), self.tables.define, effect, True, self.tables.reveal
        )
        workers = self.workers if work.open_writer is not None else 1
        loaded = replay(
            work, self.source, self.position, self.fresh.database.insert, workers, self.tell, self.scratch
        )
        self.tell("indexes", 0, 1)
        self.fresh.index((*self.tables.definition.tables, *SYSTEM_TABLES), workers)
        return loaded

    def load_from(self, snapshot: Snapshot, open_snapshot: OpenSnapshot | None) -> Loaded:
        """A snapshot's rows and the tail behind it; the journal stays empty."""
        effect = Effect(self._control(), self.position)
        if not usable(snapshot.links, effect.links):
            raise Refused(
                f"the snapshot at {snapshot.position} does not lead to {self.position}", "replay without it"
            )
        tables = self.tables
        definition, reveal = tables.definition, tables.reveal
        reveal.refresh()
        sharing = Sharing(open_snapshot, tables.define, frozenset(reveal.erased)) if open_snapshot else None
        with shared_pool(sharing, snapshot, self.workers) as pool:
            load_tables(snapshot, self.fresh, definition, reveal.erased, pool, self.workers, self.tell)
            empty = [table for table in SYSTEM_TABLES if table not in (JOURNAL, ACCESS_LOG, STREAMS)]
            self.fresh.index(empty, 1)
            self.tell("tail", 0, 1)
            tail = Tail(snapshot.position, effect, tables.define, reveal)
            return fold_tail(tail, self.open_source, self.source, self.fresh, pool, self.workers)

    def _control(self) -> list[tuple[int, Rewind]]:
        """Control's records into their table; the rewinds among them."""
        rewinds: list[tuple[int, Rewind]] = []
        for records in self.source.read(CONTROL_PARTITION, 0, self.position.control):
            rows, unreadable, found = control_rows(records)
            self.fresh.database.insert(CONTROL_TABLE, rows)
            self.fresh.database.insert(UNREADABLE, unreadable)
            rewinds.extend(found)
        return rewinds

    def settle(self, identity: dict[str, str], journal_complete: bool) -> None:
        """Cursor, layout and lease: what makes the fresh tables complete."""
        database = self.fresh.database
        meta = [
            (LAYOUT, layout_of(self.tables.definition)),
            (IDENTITY, json.dumps(identity, sort_keys=True)),
        ]
        if not journal_complete:
            meta.append((JOURNAL_FROM, json.dumps(self.position.to_json())))
        database.insert(META, meta)
        database.insert(CURSOR, [(p.topic, p.number, n) for p, n in self.position.items()])
        database.insert(LEASE, self.tables.database.select(LEASE))


class Work(NamedTuple):
    """What a worker needs to know; it can be sent to another process."""

    open_source: OpenSource
    open_writer: OpenWriter | None
    define: Define
    effect: Effect
    with_state: bool
    """Whether events are folded, or only listed."""
    reveal: Reveal = SHUT

    @property
    def definition(self) -> Definition | None:
        return self.define() if self.with_state else None


def replay(
    work: Work,
    source: LogReader,
    position: Position,
    write: Write,
    workers: int,
    tell: Tell,
    scratch: Path | None,
) -> Loaded:
    """Both passes over the data up to `position`: by `write`, or with several workers by `work.open_writer`."""
    total = sum(n for p, n in position.items() if p.topic != CONTROL)
    if workers > 1 and total < BUCKET_RECORDS // 4:
        workers = 1  # another process would take longer to start
    least = 1 if workers == 1 else 4 * workers
    plan = Plan(min(MOST_BUCKETS, max(least, -(-total // BUCKET_RECORDS))), source.end(), workers == 1)
    with tempfile.TemporaryDirectory(prefix="rekam-rebuild-", dir=scratch) as folder:
        shares = split(position, workers)
        if workers == 1:
            tell("reading", 0, total)
            spilled = [spill(source, shares[0], plan, Path(folder), "0")]
            loads = _load_here(work, spilled, write)
        else:
            loads = _load_by_workers(work, shares, plan, Path(folder), write, workers, tell)
        records = applied = 0
        for loaded in loads:
            records += loaded.records
            applied += loaded.applied
            tell("events", records, total)
    return Loaded(records, applied)


def split(position: Position, shares: int) -> list[list[Range]]:
    """The data up to `position` in contiguous shares of about the same number of records."""
    ranges = [Range(p, 0, n) for p, n in position.items() if p.topic != CONTROL and n]
    total = sum(r.stop for r in ranges)
    size = max(1, -(-total // shares))
    found: list[list[Range]] = [[] for _ in range(shares)]
    before = 0
    for partition, start, stop in ranges:
        while start < stop:
            share = min(shares - 1, before // size)
            take = min(stop - start, (share + 1) * size - before)
            found[share].append(Range(partition, start, start + take))
            start += take
            before += take
    return found


def _load_here(work: Work, spilled: Sequence[Spilling], write: Write) -> Iterator[Loaded]:
    definition = work.definition
    yield _write_unreadable(spilled, write)
    for bucket in joined(spilled):
        yield load_bucket(bucket, work.effect, definition, write, work.reveal)


def _load_by_workers(
    work: Work,
    shares: Sequence[Sequence[Range]],
    plan: Plan,
    folder: Path,
    write: Write,
    workers: int,
    tell: Tell,
) -> Iterator[Loaded]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (work,)) as pool:
        tell("reading", 0, 1)
        spills = [pool.submit(_spill_share, share, plan, folder, str(n)) for n, share in enumerate(shares)]
        spilled = [future.result() for future in spills]
        yield _write_unreadable(spilled, write)
        buckets = sorted(joined(spilled), key=_size_bytes, reverse=True)
        loads = [pool.submit(_load_bucket, bucket) for bucket in buckets]
        for future in as_completed(loads):
            yield future.result()


def _write_unreadable(spilled: Sequence[Spilling], write: Write) -> Loaded:
    for spilling in spilled:
        write(UNREADABLE, spilling.unreadable)
    return Loaded(sum(len(spilling.unreadable) for spilling in spilled), 0)


def joined(spilled: Sequence[Spilling]) -> list[Bucket]:
    """The buckets of several shares, the shares in order."""
    return [
        Bucket(tuple(f for b in parts for f in b.files), tuple(h for b in parts for h in b.held))
        for parts in zip(*(s.buckets for s in spilled), strict=True)
    ]


def _size_bytes(bucket: Bucket) -> int:
    return sum(Path(name).stat().st_size for name in bucket.files)


class _Worker:
    """A worker process: its connections, opened once."""

    def __init__(self, work: Work) -> None:
        assert work.open_writer is not None
        self.work = work
        self.definition = work.definition
        self.database = work.open_writer()


_worker: _Worker | None = None


def _start_worker(work: Work) -> None:
    global _worker
    begin_worker()
    _worker = _Worker(work)


def _spill_share(share: Sequence[Range], plan: Plan, folder: Path, name: str) -> Spilling:
    assert _worker is not None
    with closing(_worker.work.open_source()) as source:
        return spill(source, share, plan, folder, name)


def _load_bucket(bucket: Bucket) -> Loaded:
    assert _worker is not None
    work = _worker.work
    return load_bucket(bucket, work.effect, _worker.definition, _worker.database.insert, work.reveal)
