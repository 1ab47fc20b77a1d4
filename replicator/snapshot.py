"""Snapshots: the tables at one position, so that a recovery replays a tail only. Never the only copy of a fact.

A table is given as columns and rows, whatever made them: the archive knows nothing of projections. Rows are written as
they come, in parts of bounded size, so memory does not grow with a table; a snapshot counts once a checkpoint names it,
so one that was killed half-way is orphans. docs/archive-format.md fixes the format.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from events.avro_reading import DISTINCT, MALFORMED
from events.avro_rows import LearningReader
from events.avro_writing import compile_tuple_writer
from events.envelope import ID_BYTES
from events.errors import BadInput, Corrupt, Refused
from events.position import Position
from events.rules import Link
from replicator.archive import Archive, ArchiveIndex
from replicator.canonical import canonical, parse_canonical
from replicator.container import Block, read_container, write_container
from replicator.entries import SnapshotEntry, digest, links_from_json, links_to_json, natural
from replicator.fetching import fetch, fetch_ahead
from replicator.manifest import FORMAT

PART_BYTES = 8 * 1024 * 1024
"""Plain bytes after which a part ends: what a reader holds at once."""
BLOCK_BYTES = 1024 * 1024
UPLOADS = 2

Row = tuple[Any, ...]

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_ID = {"type": "fixed", "name": "Id", "namespace": "id.rekam.archive", "size": ID_BYTES}
_KINDS: dict[str, Any] = {
    "text": "string",
    "integer": "long",
    "boolean": "boolean",
    "id": _ID,
    "instant": {"type": "long", "logicalType": "timestamp-micros"},
    "decimal": "string",
    "bytes": "bytes",
}


class TableImage(NamedTuple):
    """A table as it is written: its columns as (name, kind), and its rows in any order, each a full tuple.

    Kinds: text, integer, boolean, id (16 bytes), instant (microseconds UTC), decimal (text), bytes; all nullable.
    """

    name: str
    columns: Sequence[tuple[str, str]]
    rows: Iterable[Row]


class Part(NamedTuple):
    """One object of a table."""

    key: str
    stored: bytes
    plain: bytes
    size_bytes: int
    rows: int


@dataclass(frozen=True)
class TableFact:
    """A table in a snapshot."""

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: int
    parts: tuple[Part, ...]


def write_snapshot(
    archive: Archive,
    position: Position,
    links: Sequence[Link],
    tables: Iterable[TableImage],
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> SnapshotEntry:
    """Stores a snapshot and gives its entry, which the next checkpoint must name (`Shipper.ship_once(entries=…)`).

    `links`: the chain that the tables stand at. Tables are written, and loaded again, in the order given. Raises
    BadInput where a column or a value does not fit its kind; StoreUnavailable.
    """
    snapshot = random(ID_BYTES).hex()
    facts = [_write_table(archive, snapshot, table) for table in tables]
    manifest = {
        "format": FORMAT,
        "id": snapshot,
        "position": position.to_json(),
        "links": links_to_json(links),
        "tables": [_table_json(fact) for fact in facts],
    }
    return archive.add_plain(
        "snapshot",
        lambda stored, _: f"snapshots/{snapshot}/{stored}.manifest.json",
        canonical(manifest),
        SnapshotEntry,
        id=snapshot,
        position=position.to_json(),
        links=links_to_json(links),
        rows=sum(fact.rows for fact in facts),
        parts_size=sum(part.size_bytes for fact in facts for part in fact.parts),
    )


def _write_table(archive: Archive, snapshot: str, table: TableImage) -> TableFact:
    schema = row_schema(table.columns)
    parts: list[Part] = []
    uploads: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="snapshot") as pool:
        try:
            for number, blocks in enumerate(_parts(table, schema)):
                if len(uploads) >= UPLOADS:
                    parts.append(uploads.popleft().result())
                uploads.append(
                    pool.submit(_store, archive, f"snapshots/{snapshot}/{table.name}", number, schema, blocks)
                )
            parts += (upload.result() for upload in uploads)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    columns = tuple((name, kind) for name, kind in table.columns)
    return TableFact(table.name, columns, sum(part.rows for part in parts), tuple(parts))


def _parts(table: TableImage, schema: dict[str, Any]) -> Iterator[list[Block]]:
    """The rows, encoded, as the blocks of one part after another."""
    if not _NAME.match(table.name):
        raise BadInput(f"a snapshot cannot hold a table named {table.name[:50]!r}")
    write = compile_tuple_writer(schema, b"")
    blocks: list[Block] = []
    rows: list[bytes] = []
    block_bytes = part_bytes = 0
    for row in table.rows:
        try:
            raw = write(row)
        except (BadInput, ValueError, TypeError) as error:
            raise BadInput(
                f"a row of the table {table.name} does not fit its columns", _hint(error)
            ) from None
        rows.append(raw)
        block_bytes += len(raw)
        if block_bytes >= BLOCK_BYTES:
            blocks.append(Block(len(rows), b"".join(rows)))
            part_bytes += block_bytes
            rows, block_bytes = [], 0
            if part_bytes >= PART_BYTES:
                yield blocks
                blocks, part_bytes = [], 0
    if rows:
        blocks.append(Block(len(rows), b"".join(rows)))
    if blocks:
        yield blocks


def _hint(error: Exception) -> str:
    return error.message if isinstance(error, BadInput) else "every column needs a value of its kind, or None"


def _store(archive: Archive, prefix: str, number: int, schema: dict[str, Any], blocks: list[Block]) -> Part:
    sync = hashlib.sha256(f"{prefix}-{number}".encode()).digest()[:16]
    stored = archive.store_sealed(
        lambda of_stored, suffix: f"{prefix}-{number:06d}-{of_stored}.avro{suffix}",
        write_container(canonical(schema), sync, blocks),
    )
    return Part(*stored, sum(block.number for block in blocks))


def row_schema(columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The Avro schema of a table's rows. Raises BadInput."""
    fields: list[dict[str, Any]] = []
    named = False
    for name, kind in columns:
        if kind not in _KINDS or not _NAME.match(name):
            raise BadInput(f"a snapshot cannot hold a column {name[:50]!r} of kind {kind[:20]!r}")
        # A named type is written out once and referred to by its name from then on.
        of = "id.rekam.archive.Id" if kind == "id" and named else _KINDS[kind]
        named = named or kind == "id"
        fields.append({"name": name, "type": ["null", of]})
    return {"type": "record", "name": "Row", "namespace": "id.rekam.archive", "fields": fields}


def _table_json(fact: TableFact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "columns": [list(column) for column in fact.columns],
        "rows": fact.rows,
        "parts": [
            {
                "key": part.key,
                "stored": part.stored.hex(),
                "plain": part.plain.hex(),
                "size": part.size_bytes,
                "rows": part.rows,
            }
            for part in fact.parts
        ],
    }


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot. Rows are read part by part, verified; parts can be shared out among processes."""

    index: ArchiveIndex
    id: str
    position: Position
    links: tuple[Link, ...]
    tables: tuple[TableFact, ...]

    @property
    def parts(self) -> list[Part]:
        """Of all tables."""
        return [part for table in self.tables for part in table.parts]

    def rows(self, table: str) -> Iterator[Row]:
        """A table's rows, one by one. Raises ArchiveGap or Corrupt naming the part, before any row of it."""
        return chain.from_iterable(self.batches(table))

    def holds(self, table: str) -> bool:
        """Whether the table is in it: one that a later release added is not in what was taken before."""
        return any(fact.name == table for fact in self.tables)

    def batches(self, table: str) -> Iterator[list[Row]]:
        """The same in lists of some thousands."""
        fact = self._fact(table)
        return self.read_parts(fact, fact.parts)

    def size_bytes(self, table: str) -> int:
        """What a table takes in the archive."""
        return sum(part.size_bytes for fact in self.tables if fact.name == table for part in fact.parts)

    def _fact(self, table: str) -> TableFact:
        fact = next((fact for fact in self.tables if fact.name == table), None)
        if fact is None:
            raise Refused(f"the snapshot {self.id} holds no table {table}")
        return fact

    def read_parts(self, fact: TableFact, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Batches of the rows of some parts of a table, in order."""
        for part, plain in fetch_ahead(self.index.store, parts, self.index.identity_key):
            yield from decode_part(part, plain, fact.columns)


def open_snapshot(index: ArchiveIndex, snapshot: str) -> Snapshot:
    """The snapshot of that id. Raises Refused where no checkpoint names it, ArchiveGap, Corrupt."""
    entry = next((entry for entry in index.snapshots if entry.id == snapshot), None)
    if entry is None:
        raise Refused(f"the archive holds no snapshot {snapshot}", "rekam points lists what it holds")
    return load_snapshot(index, entry)


def reopened_snapshot(open_archive: Callable[[], ArchiveIndex], snapshot: str) -> Snapshot:
    """The snapshot of that id in an archive that is opened for it, such as by another process."""
    return open_snapshot(open_archive(), snapshot)


def load_snapshot(index: ArchiveIndex, entry: SnapshotEntry) -> Snapshot:
    """The snapshot that an entry names, committed or not. Raises ArchiveGap, Corrupt."""
    tables = parse_snapshot(entry, fetch(index.store, entry, None))
    return Snapshot(index, entry.id, entry.position, entry.links, tables)


def parse_snapshot(entry: SnapshotEntry, data: bytes) -> tuple[TableFact, ...]:
    """The tables of a snapshot's manifest. Raises Corrupt where it is not the one that the entry names."""
    raw = parse_canonical(data, entry.key)
    try:
        tables = tuple(_table_of(table) for table in raw["tables"])
        position, links = Position.from_json(raw["position"]), links_from_json(raw["links"])
        if (raw["format"], raw["id"], position, links) != (FORMAT, entry.id, entry.position, entry.links):
            raise ValueError("another snapshot")
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{entry.key} is not this snapshot's manifest ({type(error).__name__})") from None
    return tables


def _table_of(raw: dict[str, Any]) -> TableFact:
    columns = tuple((str(name), str(kind)) for name, kind in raw["columns"])
    parts = tuple(
        Part(p["key"], digest(p["stored"]), digest(p["plain"]), natural(p["size"]), natural(p["rows"]))
        for p in raw["parts"]
    )
    return TableFact(raw["name"], columns, natural(raw["rows"]), parts)


@lru_cache
def _rows_reader(columns: tuple[tuple[str, str], ...]) -> LearningReader:
    schema = row_schema(columns)
    for field in schema["fields"]:
        if field["name"] == "stream" or field["name"].endswith("_id"):
            field["format"] = DISTINCT
    return LearningReader(schema)


def decode_part(part: Part, plain: bytes, columns: tuple[tuple[str, str], ...]) -> Iterator[list[Row]]:
    """The rows of one part, block by block. Raises Corrupt."""
    schema, blocks = read_container(plain, part.key)
    if schema != row_schema(columns):
        raise Corrupt(f"{part.key} has other columns than its manifest says")
    read, left = _rows_reader(columns), part.rows
    for block in blocks:
        try:
            rows = read(block.data, block.number)
        except MALFORMED:
            raise Corrupt(f"{part.key}: a block does not hold what its schema says") from None
        left -= len(rows)
        yield rows
    if left:
        raise Corrupt(f"{part.key} does not hold the {part.rows} rows that its manifest says")
