"""Filling the journal after tables from a snapshot serve.

Such tables hold every record's rows, but none of the events behind them: history, as-of reads, duplicates and rewinds
wait (Busy) until the journal is complete. Meanwhile a projector may go on; what it could not judge without the journal
(whether a conflict is a duplicate, where access streams stand) is judged here at the end, in the transaction that
declares the journal complete. Killed at any instant, it is begun again: rows of the unfinished attempt go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from events.clock import Clock, wall_micros
from events.codec import Unreadable, decode_events
from events.position import ACCESS, EVENTS, Position
from events.rules import Effect, Verdict
from projections.bulk import Tell, Work, alone, replay
from projections.database import Database, index_ddl
from projections.fresh import OpenWriter, SchemaWriter
from projections.judging import Standing
from projections.loading import Loaded, Write, without_collector
from projections.postgresql_database import PostgresqlDatabase
from projections.projector import access_applied, access_heads, refuse_other_log
from projections.rows import Row
from projections.store import JOURNAL_FROM, Tables
from projections.system_tables import ACCESS_LOG, JOURNAL, KEPT_IN
from projections.tail import OpenSource


def complete_journal(
    open_source: OpenSource,
    tables: Tables,
    *,
    workers: int = 1,
    progress: Tell | None = None,
    clock: Clock = wall_micros,
    scratch: Path | None = None,
) -> Loaded:
    """Fills the journal and the access log up to where the snapshot's tables began; nothing if they are complete.

    Raises as `bulk.rebuild`; the tables serve on whatever happens.
    """
    with alone(tables, clock):
        position = tables.journal_from()
        if position is None:
            return Loaded(0, 0)
        database = tables.database
        with database.writing():
            _forget_attempt(database, position)
        effect = Effect(tables.control(), position)
        writer, write = _ways_to_write(database)
        work = Work(open_source, writer, tables.define, effect, False)
        tell = progress or (lambda stage, done, total: None)
        with closing(open_source()) as source, without_collector():
            refuse_other_log(tables, source.identity())
            loaded = replay(work, source, position, write, workers if writer else 1, tell, scratch)
        tell("indexes", 0, 1)
        with database.writing():
            _finish(tables, position)
    return loaded


def _ways_to_write(database: Database) -> tuple[OpenWriter | None, Write]:
    if isinstance(database, PostgresqlDatabase):
        return SchemaWriter(database.conninfo, database.schema), database.insert

    def write(table: sa.Table, rows: Sequence[Row]) -> None:
        with database.writing():
            database.insert(table, rows)

    return None, write


def _forget_attempt(database: Database, position: Position) -> None:
    for partition, stop in position.items():
        if partition.topic in KEPT_IN:
            where = "WHERE log_partition = ? AND log_offset < ?"
            database.execute(f"DELETE FROM {KEPT_IN[partition.topic].name} {where}", (partition.number, stop))
            database.execute(
                "DELETE FROM unreadable WHERE topic = ? AND log_partition = ? AND log_offset < ?",
                (partition.topic, partition.number, stop),
            )


def _finish(tables: Tables, position: Position) -> None:
    """Indexes, the verdicts that had to wait, and the end of the waiting. Inside `writing`."""
    database = tables.database
    for statement in index_ddl((JOURNAL, ACCESS_LOG), database.dialect):
        database.execute(statement)
    for partition, start in position.of(EVENTS).items():
        database.execute(TELL_DUPLICATES, (partition.number, start))
    for partition, start in position.of(ACCESS).items():
        _judge_access(database, partition.number, start)
    tables.set_meta(JOURNAL_FROM, None)


TELL_DUPLICATES = f"""
    UPDATE journal SET verdict = '{Verdict.DUPLICATE.value}'
    WHERE log_partition = ? AND log_offset >= ? AND verdict = '{Verdict.CONFLICT.value}' AND EXISTS (
        SELECT 1 FROM journal AS a
        WHERE a.event_id = journal.event_id AND a.stream = journal.stream AND a.version = journal.version
        AND a.verdict = '{Verdict.APPLIED.value}' AND a.log_offset < journal.log_offset)
"""
"""What was read behind the snapshot and could only be called a conflict: some of it had applied before."""


def _judge_access(database: Database, number: int, start: int) -> None:
    """Access events read behind the snapshot, judged from where their streams stood there."""
    rest = "WHERE log_partition = ? AND log_offset >= ? ORDER BY log_offset"
    rows = database.select(ACCESS_LOG, rest, (number, start))
    heads = access_heads(database, {row[0] for row in rows}, start)
    found = decode_events([row[-1] for row in rows])
    events = [event for event in found if not isinstance(event, Unreadable)]
    standing = Standing(heads, access_applied(database, events, heads, start))
    verdicts = [
        (standing.judge(event).value, event.stream, row[2])
        for row, event in zip(rows, found, strict=True)
        if not isinstance(event, Unreadable)
    ]
    database.set_verdicts(ACCESS_LOG, verdicts)
