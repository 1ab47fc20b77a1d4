"""The kinds of columns that tables are made of, and how a table names its key.

One value has one form in Python and one in each database, so that the same rows give the same digest on both:

| kind | Python | PostgreSQL | SQLite |
|---|---|---|---|
| Id | 16 bytes | uuid | BLOB |
| Digest | bytes | bytea | BLOB |
| Instant | int, microseconds since 1970 UTC | timestamptz | INTEGER |
| Dec | str, canonical decimal text | numeric (keeps trailing zeros) | TEXT |
| Text | str | text COLLATE "C" | TEXT |
| Document | str, canonical JSON | text COLLATE "C" | TEXT |
| Integer | int | bigint | INTEGER |
| Boolean | bool | boolean | INTEGER |

Text compares by bytes on both (COLLATE "C"), so rows come in the same order. No table has a PRIMARY KEY
constraint: it has one unique index `key_<table>` on its key columns, which a bulk load builds last.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

UNIX_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


class Kind(StrEnum):
    """What a column holds; decides its form in each database, in a digest and in a snapshot."""

    ID = "id"
    DIGEST = "bytes"
    INSTANT = "instant"
    DECIMAL = "decimal"
    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"


class Id(TypeDecorator[bytes]):
    """16 bytes: an event's id, an epoch."""

    impl = sa.LargeBinary
    cache_ok = True
    kind = Kind.ID

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        of = postgresql.UUID(as_uuid=True) if dialect.name == "postgresql" else sa.LargeBinary()
        return dialect.type_descriptor(of)

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> Any:
        return uuid.UUID(bytes=value) if value is not None and dialect.name == "postgresql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        return value.bytes if isinstance(value, uuid.UUID) else value


class Digest(TypeDecorator[bytes]):
    """Bytes of any length: a SHA-256, an event's value."""

    impl = sa.LargeBinary
    cache_ok = True
    kind = Kind.DIGEST

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else bytes(value)


class Instant(TypeDecorator[int]):
    """Microseconds since 1970 UTC."""

    impl = sa.BigInteger
    cache_ok = True
    kind = Kind.INSTANT

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        of = sa.DateTime(timezone=True) if dialect.name == "postgresql" else sa.BigInteger()
        return dialect.type_descriptor(of)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "postgresql":
            return value
        return UNIX_EPOCH + value * MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return (value - UNIX_EPOCH) // MICROSECOND if isinstance(value, dt.datetime) else value


class Dec(TypeDecorator[str]):
    """A decimal number as text, precision kept."""

    impl = sa.Text
    cache_ok = True
    kind = Kind.DECIMAL

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.Numeric() if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return Decimal(value) if value is not None and dialect.name == "postgresql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return f"{value:f}" if isinstance(value, Decimal) else value


class Text(TypeDecorator[str]):
    """Any text, compared by its UTF-8 bytes."""

    impl = sa.Text
    cache_ok = True
    kind = Kind.TEXT

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        of = postgresql.TEXT(collation="C") if dialect.name == "postgresql" else sa.Text()
        return dialect.type_descriptor(of)


class Document(Text):
    """Canonical JSON text (sorted keys, no spaces)."""

    cache_ok = True


class Integer(TypeDecorator[int]):
    """A whole number of 64 bits."""

    impl = sa.BigInteger
    cache_ok = True
    kind = Kind.INTEGER


class Boolean(TypeDecorator[bool]):
    """True or false."""

    impl = sa.Boolean
    cache_ok = True
    kind = Kind.BOOLEAN


def kind_of(column: sa.Column[Any]) -> Kind:
    """Every type in this module carries its kind."""
    of: Any = column.type
    kind: Kind = of.kind
    return kind


def kinds(table: sa.Table) -> tuple[Kind, ...]:
    """The kind of each column, in column order."""
    return tuple(kind_of(c) for c in table.columns)


def key_columns(table: sa.Table) -> tuple[str, ...]:
    """The names of the key columns, `stream` first."""
    key: tuple[str, ...] = table.info["key"]
    return key


def key_of(table: sa.Table) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """row -> its full key, `stream` first."""
    names = [c.name for c in table.columns]
    indexes = [names.index(k) for k in key_columns(table)]
    if len(indexes) == 1:
        only = indexes[0]
        return lambda row: (row[only],)
    return itemgetter(*indexes)


def in_bytes(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """A key as it sorts in every database: text by its UTF-8 bytes."""
    return tuple(v.encode() if isinstance(v, str) else v for v in key)


def keyed_table(
    metadata: sa.MetaData, name: str, key: Iterable[str], *columns: sa.Column[Any], comment: str | None = None
) -> sa.Table:
    """A table whose rows are unique by `key`, held by one unique index `key_<name>`."""
    table = sa.Table(name, metadata, *columns, comment=comment, info={"key": tuple(key)})
    sa.Index(f"key_{name}", *(table.c[k] for k in table.info["key"]), unique=True)
    return table


def column(
    name: str, of: TypeEngine[Any] | type[TypeEngine[Any]], *, nullable: bool = True
) -> sa.Column[Any]:
    return sa.Column(name, of, nullable=nullable)


def state_table(
    metadata: sa.MetaData, name: str, key: Iterable[str], *columns: sa.Column[Any], comment: str | None = None
) -> sa.Table:
    """A table whose rows each depend on one stream, named in the first column; `key` are the columns after it."""
    stream = column("stream", Text(), nullable=False)
    return keyed_table(metadata, name, ("stream", *key), stream, *columns, comment=comment)
