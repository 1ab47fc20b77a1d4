"""The tail behind a snapshot: its events folded onto the tables that stand there.

Rows depend on their own stream alone, so several processes can fold the tail at once where the database lets several
write: each reads all of it, and decodes, judges and folds the streams of its share.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from typing import NamedTuple, TypeAlias

from events.envelope import Event
from events.log import LogReader, Record
from events.position import EVENTS, Position
from events.rules import Effect, Head, Verdict
from events.sealing import Reveal
from projections.database import Database
from projections.definition import Define, Definition
from projections.folding import fold_onto, write_changes
from projections.fresh import Fresh, OpenWriter
from projections.judging import Homes, Read, Standing, sort_out
from projections.loading import Loaded
from projections.projector import BATCH_RECORDS, batches
from projections.store import set_heads
from projections.system_tables import STREAMS

SHARED_RECORDS = 2 * BATCH_RECORDS
"""Of a shorter tail another process would hardly have a batch to fold."""

OpenSource: TypeAlias = Callable[[], LogReader]
"""Opens the log or the archive; with several workers one that can be sent to another process."""


class Tail(NamedTuple):
    """What is to be folded; it can be sent to another process."""

    start: Position
    """Where the tables stand."""
    effect: Effect
    define: Define
    reveal: Reveal

    @property
    def stop(self) -> Position:
        return Position(self.effect.position.of(EVENTS))

    @property
    def records(self) -> int:
        return sum(stop - self.start[partition] for partition, stop in self.stop.items())


class Share(NamedTuple):
    """Which streams one process folds."""

    number: int
    of: int

    def own(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of its streams: an event of ours has its stream for a key."""
        if self.of == 1:
            return records
        return [r for r in records if r.key is not None and zlib.crc32(r.key) % self.of == self.number]


WHOLE = Share(0, 1)


def fold_tail(
    tail: Tail, open_source: OpenSource, source: LogReader, fresh: Fresh, pool: Executor | None, workers: int
) -> Loaded:
    """Folds the tail's events in effect, by the workers of a pool too. What is listed is not listed here."""
    writer = fresh.writer()
    if pool is None or writer is None or tail.records < SHARED_RECORDS:
        return fold_share(tail, WHOLE, source, fresh.database, fresh.step)
    others = [
        pool.submit(_fold_in_worker, tail, Share(n, workers), open_source, writer) for n in range(1, workers)
    ]
    ours = fold_share(tail, Share(0, workers), source, fresh.database, fresh.step)
    return Loaded(ours.records, ours.applied + sum(other.result() for other in others))


def _fold_in_worker(tail: Tail, share: Share, open_source: OpenSource, open_writer: OpenWriter) -> int:
    with closing(open_source()) as source, closing(open_writer()) as database:
        return fold_share(tail, share, source, database, database.writing_beside).applied


def fold_share(
    tail: Tail,
    share: Share,
    source: LogReader,
    database: Database,
    step: Callable[[], AbstractContextManager[None]],
) -> Loaded:
    """Folds one share. `step`: around the changes that a batch makes. Records are counted whosever they are."""
    homes = Homes(EVENTS, source.end())
    definition = tail.define()
    records = applied = 0
    for batch in batches(source, tail.start, tail.stop):
        reads = [read for p, found in batch.parts for read in sort_out(p, share.own(found), homes)[0]]
        with step():
            applied += _fold_batch(reads, tail.effect, database, definition, tail.reveal)
        records += batch.records
    return Loaded(records, applied)


def _fold_batch(
    reads: Sequence[Read], effect: Effect, database: Database, definition: Definition, reveal: Reveal
) -> int:
    reveal.refresh()
    streams = {read.event.stream for read in reads}
    rows = database.find(STREAMS, ["stream"], [(s,) for s in streams])
    standing = Standing({s: Head(version, last) for s, version, last in rows}, {})
    applied: dict[str, list[Event]] = {}
    for partition, offset, _, _, event in reads:
        verdict = effect.judge(event.epoch, partition, offset) or standing.judge(event)
        if verdict is Verdict.APPLIED:
            applied.setdefault(event.stream, []).append(reveal(event))
    set_heads(database, {stream: standing.heads[stream] for stream in applied})
    write_changes(database, fold_onto(database, definition, applied))
    return sum(len(events) for events in applied.values())
