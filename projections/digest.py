"""What the tables hold, as one SHA-256 a table: the same wherever and however they were made.

The fixed list is the state tables, `streams` and `events` (the applied events of the effective history). Each row is a
JSON array on a line of its own (UTF-8, no spaces, nothing escaped but what JSON requires), rows in key order by bytes,
columns in their order. Instants are whole microseconds since 1970 UTC, decimals their text, ids and bytes lower-case
hex, absent values null. An `events` row is [stream, version, event id, type, occurred at, recorded at, [actor id, role,
system], SHA-256 of the value]; a sealed value that can be opened is hashed as it would stand unsealed. Nothing of where
a thing is stored enters: no offsets, log times, cursors or verdicts without effect. So a live system, its as-of view, a
rebuild, a recovery of the same moment, SQLite and PostgreSQL agree.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from events.log import LogReader
from events.position import Position
from events.rules import Verdict
from events.sealing import SHUT, Reveal
from projections.bulk import rebuild
from projections.columns import Kind, kinds
from projections.definition import Define, clinic
from projections.rows import Row
from projections.store import Tables, open_tables
from projections.system_tables import JOURNAL, STREAMS

EVENTS_TABLE = "events"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class TableDigest(TypedDict):
    rows: int
    digest: str


class Digest(TypedDict):
    tables: dict[str, TableDigest]


def digest(tables: Tables) -> Digest:
    """The digest of everything that the tables hold at their position. Raises Busy while the journal is filled."""
    tables.require_journal()
    found: dict[str, TableDigest] = {}
    with tables.reading():
        for table in (*tables.definition.tables, STREAMS):
            found[table.name] = digest_rows(plainly(tables.all_rows(table), kinds(table)))
        found[EVENTS_TABLE] = digest_rows(_applied_events(tables))
    return {"tables": found}


def digest_at(
    open_source: Callable[[], LogReader],
    position: Position,
    define: Define = clinic,
    scratch: Path | None = None,
    reveal: Reveal = SHUT,
) -> Digest:
    """The digest of the moment at `position`, folded into tables that are made for it (in `scratch`) and removed."""
    with tempfile.TemporaryDirectory(prefix="rekam-digest-", dir=scratch) as folder:
        tables = open_tables(f"sqlite:{folder}/tables.db", define=define, reveal=reveal)
        try:
            rebuild(open_source, position, tables)
            return digest(tables)
        finally:
            tables.close()


def digest_rows(rows: Iterable[Iterable[Any]]) -> TableDigest:
    """`rows`: JSON values, in key order."""
    sha256 = hashlib.sha256()
    encode = _ENCODER.encode
    count = 0
    for row in rows:
        sha256.update(encode(row).encode() + b"\n")
        count += 1
    return {"rows": count, "digest": sha256.hexdigest()}


def plainly(rows: Iterable[Row], of: tuple[Kind, ...]) -> Iterator[Row]:
    """Rows with bytes as hex; everything else is a JSON value already."""
    hexed = [i for i, kind in enumerate(of) if kind in (Kind.ID, Kind.DIGEST)]
    if not hexed:
        yield from rows
        return
    for row in rows:
        values = list(row)
        for i in hexed:
            if values[i] is not None:
                values[i] = values[i].hex()
        yield tuple(values)


def _applied_events(tables: Tables) -> Iterator[Row]:
    """Applied events by stream and version: within a stream that is the order of their offsets."""
    tables.reveal.refresh()
    clear = tables.reveal.clear
    rest = f"WHERE verdict = '{Verdict.APPLIED.value}' ORDER BY stream, log_offset"
    for (
        stream,
        _,
        _,
        _,
        version,
        event_id,
        _,
        type_,
        occurred,
        recorded,
        *actor,
        _,
        value,
    ) in tables.database.iterate(JOURNAL, rest):
        sha256 = hashlib.sha256(clear(value)).hexdigest()
        yield (stream, version, event_id.hex(), type_, occurred, recorded, actor, sha256)


def differences(one: Mapping[str, TableDigest], other: Mapping[str, TableDigest]) -> list[str]:
    """The tables in which two digests differ."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
