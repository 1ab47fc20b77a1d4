"""The tables, opened: their position, where streams stand, and what people and programs read.

`open_tables` takes `sqlite:PATH` or `postgresql+psycopg://user:password@host:port/database[?schema=NAME]`.
Everything that a `Tables` gives was folded from the log and stands at its `position`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from events.codec import Control, as_rewind, decode_control
from events.envelope import Epoch, EventId
from events.errors import BadConfiguration, Busy, LostData, TablesOutdated, TablesUnavailable
from events.position import EVENTS, Partition, Position
from events.rules import EMPTY, Head, Rewind, Verdict
from events.sealing import SHUT, Reveal
from projections.columns import in_bytes, key_of
from projections.database import MADE_ANEW, Database, ddl, key_order
from projections.definition import Define, Definition, clinic
from projections.lease import PROJECTOR, Lease, holder_name, taken
from projections.rows import Row
from projections.sqlite_database import DIALECT as SQLITE
from projections.sqlite_database import SqliteDatabase
from projections.system_tables import CONTROL, CURSOR, JOURNAL, LEASE, META, STREAMS

FOLDS_VERSION = 2
"""Raised by hand when folds give other rows for the same events: older tables then ask to be rebuilt."""
IDENTITY = "identity"
LAYOUT = "layout"
JOURNAL_FROM = "journal_from"
"""meta: the position before which the journal is still to be filled; absent when it is complete."""
BLANKED = "blanked"
"""meta: a digest of the names of all erased streams of which the tables show nothing."""


def blanked_mark(erased: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(erased)).encode()).hexdigest()


class JournalRow(NamedTuple):
    """One event as the journal keeps it. Times are microseconds since 1970 UTC."""

    stream: str
    log_partition: int
    log_offset: int
    logged_at: int
    version: int
    event_id: EventId
    epoch: Epoch | None
    type: str
    occurred_at: int
    recorded_at: int
    actor_id: str
    actor_role: str
    actor_system: str
    verdict: str
    value: bytes

    @property
    def partition(self) -> Partition:
        return Partition(EVENTS, self.log_partition)


class JournalValue(NamedTuple):
    """What folding needs of a journal row: the rest stands in the value too, and fetching it takes twice the time."""

    log_partition: int
    log_offset: int
    verdict: str
    value: bytes

    @property
    def partition(self) -> Partition:
        return Partition(EVENTS, self.log_partition)


class Tables:
    """All tables of one clinic. Not safe to use from two threads at once; open one for each."""

    def __init__(self, database: Database, url: str, define: Define, reveal: Reveal = SHUT) -> None:
        """`reveal`: opens what is sealed, wherever events are folded from or into these tables."""
        self.database = database
        self.reveal = reveal
        self.url = url
        self.define = define
        self.definition: Definition = define()
        self.holder = holder_name(secrets.token_hex(4))
        self.continued = False
        """Whether the log was seen to hold what these tables were made from."""
        self._by_name = {t.name: t for t in self.definition.tables}

    # -- where they stand ------------------------------------------------------------------------------------

    def position(self) -> Position:
        """The position that every table stands at."""
        rows = self.database.fetch("SELECT topic, log_partition, next_offset FROM cursor")
        return Position({Partition(topic, number): offset for topic, number, offset in rows})

    def identity(self) -> dict[str, str]:
        """topic -> the id of the log that the position counts in; empty before anything was projected."""
        value = self.meta(IDENTITY)
        found: dict[str, str] = json.loads(value) if value else {}
        return found

    def journal_from(self) -> Position | None:
        """The position before which the journal is still being filled; None when it is complete."""
        value = self.meta(JOURNAL_FROM)
        return Position.from_json(json.loads(value)) if value else None

    def meta(self, name: str) -> str | None:
        found = self.database.fetch("SELECT value FROM meta WHERE name = ?", (name,))
        return found[0][0] if found else None

    def set_meta(self, name: str, value: str | None) -> None:
        """Inside `writing` only. None takes the name away."""
        self.database.execute("DELETE FROM meta WHERE name = ?", (name,))
        if value is not None:
            self.database.insert(META, [(name, value)])

    def set_position(self, position: Position) -> None:
        """Inside `writing` only."""
        self.database.execute("DELETE FROM cursor")
        self.database.insert(CURSOR, [(p.topic, p.number, n) for p, n in position.items()])

    def adopt(self, identity: Mapping[str, str], held: Position) -> None:
        """Goes on with a log that was made again with the same records up to `held`.

        Raises LostData where the tables stand beyond `held`: they hold what the new log does not.
        """
        with self.database.writing():
            here = self.position()
            if not held.covers(here):
                raise LostData(f"the tables stand at {here}, beyond the log's {held}", "rebuild the tables")
            self.set_meta(IDENTITY, json.dumps(dict(identity), sort_keys=True))

    # -- who projects ----------------------------------------------------------------------------------------

    def lease(self, name: str = PROJECTOR) -> Lease | None:
        rows = self.database.select(LEASE, "WHERE name = ?", (name,))
        return next((Lease(row[1], row[2]) for row in rows), None)

    def take_lease(self, now: int, *, keep: bool, name: str = PROJECTOR) -> None:
        """Inside `writing` only. `now`: microseconds. Raises Busy where another holds it.

        Without `keep` it is only made sure that nobody else does, for this one transaction.
        """
        lease = taken(name, self.lease(name), self.holder, now)
        if keep:
            self.database.replace(LEASE, [(name, *lease)], [])

    def release_lease(self, name: str = PROJECTOR) -> None:
        """Gives the lease back if it is ours."""
        with self.database.writing():
            self.database.execute("DELETE FROM lease WHERE name = ? AND holder = ?", (name, self.holder))

    # -- streams ---------------------------------------------------------------------------------------------

    def head(self, stream: str) -> Head:
        return self.heads([stream]).get(stream, EMPTY)

    def heads(self, streams: Collection[str]) -> dict[str, Head]:
        """stream -> where it stands; a stream without an applied event is not in it."""
        found = self.database.find(STREAMS, ["stream"], [(s,) for s in set(streams)])
        return {stream: Head(version, last) for stream, version, last in found}

    def rows(self, table: str | sa.Table, stream: str) -> list[Row]:
        """A state table's rows of one stream, in key order."""
        of = self._by_name[table] if isinstance(table, str) else table
        key = key_of(of)
        return sorted(self.database.find(of, ["stream"], [(stream,)]), key=lambda row: in_bytes(key(row)))

    def journal(self, stream: str, upto: Position | None = None) -> list[JournalRow]:
        """A stream's events in log order, up to a position, with the verdicts of the tables' own position."""
        self.require_journal()
        rows = [JournalRow(*row) for row in self.database.find(JOURNAL, ["stream"], [(stream,)])]
        rows.sort(key=lambda row: row.log_offset)
        return rows if upto is None else [row for row in rows if row.log_offset < upto[row.partition]]

    def journal_values(self, stream: str, upto: Position | None = None) -> list[JournalValue]:
        """The same, but only what folding needs of them."""
        self.require_journal()
        rows = journal_values(self.database, "WHERE stream = ? ORDER BY log_offset", (stream,))
        return rows if upto is None else [row for row in rows if row.log_offset < upto[row.partition]]

    def occurrences(self, event_id: EventId) -> list[JournalRow]:
        """Every record of the event, whatever became of it. Raises Busy while the journal is being filled."""
        self.require_journal()
        return [JournalRow(*row) for row in self.database.find(JOURNAL, ["event_id"], [(event_id,)])]

    def applied(self, event_id: EventId) -> JournalRow | None:
        """The event as it was applied in the effective history, or None."""
        return self.applied_many([event_id]).get(event_id)

    def applied_many(self, event_ids: Collection[EventId]) -> dict[EventId, JournalRow]:
        self.require_journal()
        found = self.database.find(JOURNAL, ["event_id"], [(i,) for i in set(event_ids)])
        rows = (JournalRow(*row) for row in found)
        return {row.event_id: row for row in rows if row.verdict == Verdict.APPLIED.value}

    def require_journal(self) -> None:
        """Raises Busy while the journal is being filled."""
        missing = self.journal_from()
        if missing is not None:
            raise Busy(
                f"the journal before {missing} is still being filled",
                "the tables of records serve already; history and duplicates follow in a while",
            )

    def verdicts(self) -> dict[str, int]:
        """verdict -> how many of the journal's events bear it. Cheap: what applied is what the streams count."""
        sql = f"SELECT verdict, count(*) FROM journal WHERE verdict <> '{Verdict.APPLIED.value}' GROUP BY verdict"
        odd = {str(verdict): int(count) for verdict, count in self.database.fetch(sql)}
        applied = self.database.fetch("SELECT sum(version) FROM streams")[0][0]
        return {Verdict.APPLIED.value: int(applied or 0), **odd}

    def last_happened(self) -> dict[str, int]:
        """stream -> when the last of its events happened (microseconds since 1970), those of erasure left aside.

        Raises Busy while the journal is being filled.
        """
        self.require_journal()
        sql = "SELECT stream, max(occurred_at) FROM journal WHERE substr(type, 1, 8) <> 'erasure.' GROUP BY stream"
        return {str(stream): int(micros) for stream, micros in self.database.fetch(sql)}

    def numbers_of(self, stream: str) -> int:
        """How many numbers the clinic reserved for a stream."""
        if "numbers" not in self._by_name:
            return 0
        return int(self.database.fetch("SELECT count(*) FROM numbers WHERE subject = ?", (stream,))[0][0])

    # -- finding ---------------------------------------------------------------------------------------------

    def find_patient(self, text: str) -> list[str]:
        """The streams of the patients whom `text` names: a stream, a medical record number, a NIK, a FHIR id."""
        if self.head(text).version:
            return [text]
        found: set[str] = set()
        for name, columns in (
            ("patients", ("medical_record_number", "nik")),
            ("resources", ("resource_id",)),
            ("identifiers", ("value",)),
        ):
            table = self._by_name.get(name)
            for column in columns if table is not None else ():
                sql = f"SELECT DISTINCT stream FROM {name} WHERE {column} = ?"
                if name == "resources":
                    sql += " AND resource_type = 'Patient'"
                found.update(row[0] for row in self.database.fetch(sql, (text,)))
        return sorted(found)

    def resource(self, stream: str, source: str, resource_type: str, resource_id: str) -> Row | None:
        """The `resources` row of an imported resource, or None."""
        key = (stream, source, resource_type, resource_id)
        return self.resources([key]).get(key)

    def resources(self, keys: Collection[tuple[str, str, str, str]]) -> dict[tuple[str, str, str, str], Row]:
        """(stream, source, type, id) -> the `resources` row, of those that are there."""
        table = self._by_name["resources"]
        names = [c.name for c in table.columns]
        columns = ["stream", "source", "resource_type", "resource_id"]
        at = [names.index(c) for c in columns]
        found = self.database.find(table, columns, list(set(keys)))
        return {(row[at[0]], row[at[1]], row[at[2]], row[at[3]]): row for row in found}

    # -- whole tables ----------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Everything read inside stands at one position (one repeatable-read transaction)."""
        with self.database.reading():
            yield

    def all_rows(self, table: str | sa.Table) -> Iterator[Row]:
        """Every row of a table in key order (by bytes), in bounded memory. Inside `reading` only."""
        of = self._by_name[table] if isinstance(table, str) else table
        yield from self.database.iterate(of, f"ORDER BY {key_order(of)}")

    def control(self) -> list[tuple[int, Rewind]]:
        """(offset, rewind) of every rewind on the control prefix read so far, in effect or not."""
        rows = self.database.select(CONTROL, "WHERE epoch IS NOT NULL ORDER BY log_offset")
        found = ((row[0], rewind_of(row[-1])) for row in rows)
        return [(offset, rewind) for offset, rewind in found if rewind is not None]

    def close(self) -> None:
        self.database.close()
        self.reveal.close()


def journal_values(database: Database, rest: str, parameters: Sequence[Any]) -> list[JournalValue]:
    """The journal's rows that `rest` of a SELECT names."""
    sql = f"SELECT {', '.join(JournalValue._fields)} FROM journal {rest}"
    return list(map(JournalValue._make, database.fetch(sql, parameters)))


def rewind_of(value: bytes) -> Rewind | None:
    """The rewind that a control value holds, if it holds one."""
    control = decode_control(value)
    return as_rewind(control) if isinstance(control, Control) else None


def layout_of(definition: Definition) -> str:
    """Changes when a table, an index or what folds mean changes."""
    text = "\n".join([str(FOLDS_VERSION), *ddl(definition.tables, SQLITE)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def create(database: Database, definition: Definition) -> None:
    """All tables, empty, in one transaction."""
    with database.writing():
        database.make_place()
        if database.exists():
            return
        for statement in ddl(definition.tables, database.dialect):
            database.execute(statement)
        database.insert(META, [(LAYOUT, layout_of(definition))])


def sqlite_path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:").removeprefix("//"))


def open_database(url: str, *, create: bool) -> Database:
    if url.startswith("sqlite:"):
        path = sqlite_path(url)
        if not create and not path.exists():
            raise TablesUnavailable(
                f"there are no tables at {path}", "`rekam project` makes them from the log"
            )
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteDatabase(path)
    if url.startswith("postgresql"):
        from projections.postgresql_database import PostgresqlDatabase

        return PostgresqlDatabase.at(url)
    raise BadConfiguration(
        f"tables cannot be at {url.split(':')[0]!r}",
        "use sqlite:PATH or postgresql+psycopg://user@host/database",
    )


def open_tables(
    url: str, *, create: bool = True, define: Define = clinic, check: bool = True, reveal: Reveal = SHUT
) -> Tables:
    """Opens the tables at `url`, making them where `create` and there are none.

    Raises TablesUnavailable when the database does not answer or (without `create`) holds no tables, and
    TablesOutdated when they have another layout, unless `check` is off (to rebuild them).
    """
    database = open_database(url, create=create)
    tables = Tables(database, url, define, reveal)
    try:
        _ready(tables, create, check)
    except BaseException:
        database.close()
        raise
    return tables


def _ready(tables: Tables, make: bool, check: bool) -> None:
    if not tables.database.exists():
        if not make:
            raise TablesUnavailable("there are no tables there", "`rekam project` makes them from the log")
        create(tables.database, tables.definition)
    elif check and tables.meta(LAYOUT) != layout_of(tables.definition):
        raise TablesOutdated("the tables have the layout of another version", MADE_ANEW)


def set_heads(database: Database, heads: Mapping[str, Head]) -> None:
    """Inside `writing` only. A head at version 0 is taken away."""
    rows = [(stream, head.version, head.last) for stream, head in heads.items() if head.version]
    gone = [(stream,) for stream, head in heads.items() if not head.version]
    database.replace(STREAMS, rows, gone)
