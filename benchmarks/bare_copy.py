"""What PostgreSQL itself allows: the rows of filled tables loaded once more with COPY, by one client, and indexed.

Nothing is fetched, decoded, judged or folded: this is the floor under any replay into the same tables.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.harness import timed

CHUNK_BYTES = 1024 * 1024
COPIES = "bare_copies"
"""The schema that the copies stand in."""


def bare_copy_seconds(url: str, schema: str, folder: Path) -> float:
    """Seconds to load and index every table of `schema` anew. `url`: as psycopg takes it."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = _tables(connection, schema)
        with tempfile.TemporaryDirectory(dir=folder) as taken:
            for name in names:
                _take_out(connection, schema, name, Path(taken) / name)
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(COPIES)))
            definitions = _index_definitions(connection, schema)
            return timed(lambda: _load(connection, schema, names, definitions, Path(taken)))


def _tables(connection: psycopg.Connection, schema: str) -> list[str]:
    found = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY tablename", (schema,)
    )
    return [name for (name,) in found]


def _index_definitions(connection: psycopg.Connection, schema: str) -> list[str]:
    """The statements that make the schema's indexes, for the copies."""
    found = connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = %s", (schema,))
    return [
        text.replace(f" ON {schema}.", f" ON {COPIES}.").replace(f' ON "{schema}".', f" ON {COPIES}.")
        for (text,) in found
    ]


def _take_out(connection: psycopg.Connection, schema: str, name: str, file: Path) -> None:
    statement = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(schema, name))
    with file.open("wb") as out, connection.cursor() as cursor, cursor.copy(statement) as copy:
        for chunk in copy:
            out.write(chunk)


def _load(
    connection: psycopg.Connection,
    schema: str,
    names: Sequence[str],
    definitions: Sequence[str],
    folder: Path,
) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        for name in names:
            here, there = sql.Identifier(COPIES, name), sql.Identifier(schema, name)
            cursor.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(here, there))
            statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(here)
            with (folder / name).open("rb") as rows, cursor.copy(statement) as copy:
                while chunk := rows.read(CHUNK_BYTES):
                    copy.write(chunk)
        for definition in definitions:
            cursor.execute(definition.encode())
