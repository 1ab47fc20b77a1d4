"""The projector: the log's records into the tables, in order, each batch in one transaction with the cursor.

- The target is read once, `log.end()` (data's ends, then control's), or given. Control is projected first, up to the
  target: so no event is judged before a rewind that its writer had seen, and an event whose epoch is then still
  unknown is one whose rewind is missing.
- A transaction compares the cursor with the one that the batch was read from and sets it. Of two projectors one
  loses, with Busy, and has changed nothing; the lease only spares them that race.
- Rows, heads, journal, lists and cursor change together, so that after a crash at any instant the tables stand at
  their cursor, and going on from there is all the recovery that there is.
- A record that is no event of ours is listed and passed over. A missing record is not: LogGap stops the projector.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from events.clock import Clock, wall_micros
from events.codec import Control, Unreadable, as_rewind, decode_control
from events.envelope import Event, EventId
from events.errors import Busy, LogRecreated, LostData
from events.log import LogReader, Record
from events.position import ACCESS, CONTROL, CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import EMPTY, Effect, Head, Rewind, Verdict
from projections.continuity import refuse_diverged
from projections.database import Database
from projections.folding import fold_onto, write_changes
from projections.judging import (
    Homes,
    Read,
    Standing,
    access_row,
    journal_row,
    logged_at,
    sort_out,
    unreadable_row,
)
from projections.lease import LEASE_MICROS
from projections.rewinding import changed_spans, refold, streams_in
from projections.rows import Row
from projections.store import BLANKED, IDENTITY, JournalRow, Tables, blanked_mark, set_heads
from projections.system_tables import ACCESS_LOG, CURSOR, JOURNAL, UNREADABLE
from projections.system_tables import CONTROL as CONTROL_TABLE

APPLIED = Verdict.APPLIED.value
VERDICT = list(JOURNAL.columns.keys()).index("verdict")
NO_END = 2**63 - 1
BATCH_RECORDS = 2000
BATCH_BYTES = 16 * 1024 * 1024


class Progress(NamedTuple):
    """What one call did."""

    before: Position
    after: Position
    records: int = 0
    applied: int = 0
    """Events that took effect when they were read."""
    others: Mapping[str, int] = {}
    """verdict -> events that did not, and `unreadable`."""
    rejudged: int = 0
    """Events whose verdict a rewind changed."""


class Batch(NamedTuple):
    """Consecutive records of some partitions."""

    parts: list[tuple[Partition, list[Record]]]

    @property
    def records(self) -> int:
        return sum(len(records) for _, records in self.parts)

    def after(self, position: Position) -> Position:
        return position.replace({p: records[-1].offset + 1 for p, records in self.parts})


def project(
    log: LogReader,
    tables: Tables,
    upto: Position | None = None,
    *,
    clock: Clock = wall_micros,
    hold: bool = False,
    progress: Callable[[Position, Position], None] | None = None,
) -> Progress:
    """Brings the tables from where they stand to `upto`, or to the log's end as it is when the call begins.

    `clock`: microseconds. `hold`: takes the lease and keeps it (release_lease gives it back); without it the call
    only makes sure that nobody else holds it. `progress` is told (position, target) after each transaction.
    Raises Busy where another projector holds the lease or was faster (nothing was changed by this transaction),
    LogRecreated, LostData where the tables stand beyond the log's end, LogGap where records are missing.
    """
    run = _Run(log, tables, upto, clock, hold)
    for position in run.steps():
        if progress is not None:
            progress(position, run.target)
    return run.progress()


class _Run:
    """One call of `project`."""

    def __init__(
        self, log: LogReader, tables: Tables, upto: Position | None, clock: Clock, hold: bool
    ) -> None:
        self.tables = tables
        self.log = log
        self.clock = clock
        self.hold = hold
        self.before = self.position = tables.position()
        self.identity = dict(log.identity())
        refuse_other_log(tables, self.identity)
        end = log.end()
        self.target = _target(self.position, end if upto is None else upto, end)
        if not tables.continued:
            refuse_diverged(log, tables, self.position)
            tables.continued = True
        self.homes = {topic: Homes(topic, end) for topic in (EVENTS, ACCESS)}
        self.rewinds: list[tuple[int, Rewind]] = []
        self.records = self.applied = self.rejudged = 0
        self.others: Counter[str] = Counter()

    def progress(self) -> Progress:
        return Progress(
            self.before, self.position, self.records, self.applied, dict(self.others), self.rejudged
        )

    def steps(self) -> Iterator[Position]:
        """One transaction after another; the position after each."""
        if self.hold or self.target != self.position:
            self.rewinds = self.tables.control()
        self._blank_erased()
        if self.hold and self.target == self.position and self._lease_ends_soon():
            with self._transaction(self.position):
                pass
        for records in self.log.read(CONTROL_PARTITION, self.position.control, self.target.control):
            self._control(records)
            yield self.position
        for batch in batches(self.log, self.position, self.target):
            self._data(batch)
            yield self.position
        if self.target != self.position:  # partitions without a record
            with self._transaction(self.target):
                pass

    def _blank_erased(self) -> None:
        """Whoever was erased since the tables last looked: nothing of them is shown, wherever their erasure stands."""
        tables = self.tables
        tables.reveal.refresh()
        erased = sorted(tables.reveal.erased)
        mark = blanked_mark(erased)
        if not erased or tables.meta(BLANKED) == mark or tables.journal_from() is not None:
            return
        effect = Effect(tables.control(), self.position)
        with self._transaction(self.position):
            refold(tables.database, tables.definition, effect, erased, tables.reveal)
            tables.set_meta(BLANKED, mark)

    @contextmanager
    def _transaction(self, after: Position) -> Iterator[None]:
        """Moves the tables from our position to `after`, or changes nothing."""
        with self.tables.database.writing():
            self.tables.take_lease(self.clock(), keep=self.hold)
            here = self.tables.position()
            if here != self.position:
                raise Busy(
                    f"another projector moved the tables from {self.position} to {here}",
                    "nothing was changed by this one; go on from there",
                )
            refuse_other_log(self.tables, self.identity)
            yield
            move_cursor(self.tables, self.position, after, self.identity)
        self.position = after

    def _lease_ends_soon(self) -> bool:
        held = self.tables.lease()
        ours = held is not None and held.holder == self.tables.holder
        return held is None or not ours or held.expires_at < self.clock() + LEASE_MICROS // 2

    def effect(self, position: Position) -> Effect:
        return Effect(self.rewinds, position)

    # -- control ---------------------------------------------------------------------------------------------

    def _control(self, records: Sequence[Record]) -> None:
        after = self.position.replace({CONTROL_PARTITION: records[-1].offset + 1})
        rows, unreadable, rewinds = control_rows(records)
        old = self.effect(self.position)
        new = Effect([*self.rewinds, *rewinds], after)
        with self._transaction(after):
            database = self.tables.database
            if rewinds:
                self._rewind(old, new)
            database.insert(CONTROL_TABLE, rows)
            database.insert(UNREADABLE, unreadable)
        self.rewinds.extend(rewinds)
        self.records += len(records)
        self.others["unreadable"] += len(unreadable)

    def _rewind(self, old: Effect, new: Effect) -> None:
        spans = changed_spans(old, new)
        if spans:
            self.tables.require_journal()
            self.tables.reveal.refresh()
            database = self.tables.database
            streams = streams_in(database, spans)
            self.rejudged += refold(database, self.tables.definition, new, streams, self.tables.reveal)

    # -- data ------------------------------------------------------------------------------------------------

    def _data(self, batch: Batch) -> None:
        after = batch.after(self.position)
        effect = self.effect(after)
        reads: dict[str, list[Read]] = {EVENTS: [], ACCESS: []}
        unreadable: list[Row] = []
        for partition, records in batch.parts:
            good, bad = sort_out(partition, records, self.homes[partition.topic])
            reads[partition.topic].extend(good)
            unreadable.extend(bad)
        with self._transaction(after):
            database = self.tables.database
            verdicts = self._events(reads[EVENTS], effect) + self._access(reads[ACCESS])
            database.insert(UNREADABLE, unreadable)
        self.records += batch.records
        self.applied += verdicts.pop(Verdict.APPLIED.value, 0)
        self.others += verdicts + Counter(unreadable=len(unreadable))

    def _events(self, reads: Sequence[Read], effect: Effect) -> Counter[str]:
        if not reads:
            return Counter()
        database, definition, reveal = self.tables.database, self.tables.definition, self.tables.reveal
        reveal.refresh()
        heads = self.tables.heads({read.event.stream for read in reads})
        standing = Standing(heads, self._duplicates(reads, heads))
        rows: list[Row] = []
        applied: dict[str, list[Event]] = {}
        for read in reads:
            event = read.event
            verdict = effect.judge(event.epoch, read.partition, read.offset) or standing.judge(event)
            rows.append(journal_row(*read, verdict.value))
            if verdict is Verdict.APPLIED:
                applied.setdefault(event.stream, []).append(reveal(event))
        database.insert(JOURNAL, rows)
        set_heads(database, {stream: standing.heads[stream] for stream in applied})
        write_changes(database, fold_onto(database, definition, applied))
        return Counter(row[VERDICT] for row in rows)

    def _duplicates(self, reads: Sequence[Read], heads: Mapping[str, Head]) -> dict[tuple[str, int], EventId]:
        """(stream, version) -> applied event, as far as these reads may be its duplicates."""
        events = (read.event for read in reads)
        behind = {e.event_id for e in events if e.version <= heads.get(e.stream, EMPTY).version}
        if not behind or self.tables.journal_from() is not None:
            return {}  # while the journal is being filled they count as conflicts; its completion tells them apart
        found = self.tables.database.find(JOURNAL, ["event_id"], [(i,) for i in behind])
        rows = [JournalRow(*row) for row in found]
        return {(r.stream, r.version): r.event_id for r in rows if r.verdict == Verdict.APPLIED.value}

    def _access(self, reads: Sequence[Read]) -> Counter[str]:
        if not reads:
            return Counter()
        database = self.tables.database
        heads: dict[str, Head] = {}
        if self.tables.journal_from() is None:  # else its completion judges them
            heads = access_heads(database, {read.event.stream for read in reads})
        events = (read.event for read in reads)
        standing = Standing(heads, access_applied(database, events, heads))
        rows = [access_row(*read, standing.judge(read.event).value) for read in reads]
        database.insert(ACCESS_LOG, rows)
        return Counter(row[VERDICT] for row in rows)


def batches(log: LogReader, start: Position, stop: Position) -> Iterator[Batch]:
    """The data records between two positions, partition after partition, in batches of a bounded size."""
    parts: list[tuple[Partition, list[Record]]] = []
    count = size_bytes = 0
    for partition in stop:
        if partition.topic == CONTROL:
            continue
        for records in log.read(partition, start[partition], stop[partition]):
            if parts and parts[-1][0] == partition:
                parts[-1][1].extend(records)
            else:
                parts.append((partition, list(records)))
            count += len(records)
            size_bytes += sum(len(r.value or b"") for r in records)
            if count >= BATCH_RECORDS or size_bytes >= BATCH_BYTES:
                yield Batch(parts)
                parts, count, size_bytes = [], 0, 0
    if parts:
        yield Batch(parts)


def control_rows(records: Sequence[Record]) -> tuple[list[Row], list[Row], list[tuple[int, Rewind]]]:
    """The control table's rows, the unreadable ones, and the rewinds, of some control records."""
    rows: list[Row] = []
    unreadable: list[Row] = []
    rewinds: list[tuple[int, Rewind]] = []
    for record in records:
        control = Unreadable("no value", None) if record.value is None else decode_control(record.value)
        if not isinstance(control, Control):
            unreadable.append(unreadable_row(CONTROL_PARTITION, record, control.reason, control.fingerprint))
            continue
        rewind = as_rewind(control)
        if rewind is not None:
            rewinds.append((record.offset, rewind))
        rows.append(control_row(record, control, rewind))
    return rows, unreadable, rewinds


def control_row(record: Record, control: Control, rewind: Rewind | None) -> Row:
    kind = control.body[0].rpartition(".")[2]
    epoch = rewind.epoch if rewind is not None else None
    return (
        record.offset,
        logged_at(record.time),
        kind,
        control.control_id,
        control.recorded_at,
        epoch,
        record.value,
    )


def access_heads(database: Database, streams: Iterable[str], before: int = NO_END) -> dict[str, Head]:
    """Where access streams stand, by the access log before an offset."""
    heads: dict[str, Head] = {}
    last = f"WHERE stream = ? AND verdict = '{APPLIED}' AND log_offset < ? ORDER BY log_offset DESC LIMIT 1"
    for stream in streams:
        for row in database.select(ACCESS_LOG, last, (stream, before)):
            heads[stream] = Head(row[4], row[5])
    return heads


def access_applied(
    database: Database, events: Iterable[Event], heads: Mapping[str, Head], before: int = NO_END
) -> dict[tuple[str, int], EventId]:
    """(stream, version) -> applied access event before an offset, as far as `events` may be its duplicates."""
    applied: dict[tuple[str, int], EventId] = {}
    there = f"WHERE stream = ? AND version = ? AND verdict = '{APPLIED}' AND log_offset < ?"
    for event in events:
        if event.version <= heads.get(event.stream, EMPTY).version:
            for row in database.select(ACCESS_LOG, there, (event.stream, event.version, before)):
                applied[event.stream, event.version] = row[5]
    return applied


def refuse_other_log(tables: Tables, identity: Mapping[str, str]) -> None:
    """Raises LogRecreated where the tables' position counts in another log than this one."""
    changed = [t for t, known in tables.identity().items() if identity.get(t) != known]
    if changed:
        raise LogRecreated(
            f"not the log that the tables stand in ({tables.position()}): {', '.join(sorted(changed))}",
            "if the log was restored, let `rekam recover` finish; if it was exchanged, bring the old one back",
        )


def move_cursor(tables: Tables, before: Position, after: Position, identity: Mapping[str, str]) -> None:
    """Inside `writing`: the cursor to `after`, and the log's identity where none was known."""
    moved = [(p.topic, p.number, n) for p, n in after.items() if p not in before or before[p] != n]
    tables.database.replace(CURSOR, moved, [])
    if not tables.identity():
        tables.set_meta(IDENTITY, json.dumps(dict(identity), sort_keys=True))


def _target(position: Position, target: Position, end: Position) -> Position:
    """Where to go: `target`, and no partition backwards. Raises LostData where the log ends before the tables."""
    if not end.covers(position):
        lost = [f"{p} {end[p]} to {n - 1}" for p, n in position.items() if n > end[p]]
        raise LostData(
            f"the log ends before the tables: it lacks {', '.join(lost)}",
            "put this log away and keep it; then `rekam recover` brings the right one back from the archive",
        )
    return target.replace({p: max(n, target[p]) for p, n in position.items()})
