"""Folding: the rows that folds work on, complete in memory or loaded as far as folds ask for them.

`CompleteRows` knows every row of its streams: a stream folded from its beginning has no others. `PartialRows` does
not: a row that was not loaded is first taken to be absent and remembered as wanted; what is wanted is then loaded
together, and the streams where the guess was wrong are folded again. So a batch costs a few queries, however many
streams it touches and however long they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from events.envelope import Event
from projections.columns import in_bytes, key_columns, key_of
from projections.database import Database
from projections.definition import Definition
from projections.rows import Fold, Key, Row


class Shelf:
    """The rows of one table in memory, by full key."""

    __slots__ = ("key", "rows")

    def __init__(self, table: sa.Table) -> None:
        self.key: Callable[[Row], Key] = key_of(table)
        self.rows: dict[Key, Row] = {}


class CompleteRows:
    """Rows of streams folded from their beginning. Set `stream` before each fold."""

    def __init__(self, tables: Iterable[sa.Table]) -> None:
        self.shelves = {table: Shelf(table) for table in tables}
        self.stream = ""

    def get(self, table: sa.Table, key: Key) -> Row | None:
        return self.shelves[table].rows.get((self.stream, *key))

    def put(self, table: sa.Table, row: Row) -> None:
        shelf = self.shelves[table]
        shelf.rows[shelf.key(row)] = row

    def delete(self, table: sa.Table, key: Key) -> None:
        self.shelves[table].rows.pop((self.stream, *key), None)

    def blank(self) -> None:
        for shelf in self.shelves.values():
            for key in [key for key in shelf.rows if key[0] == self.stream]:
                del shelf.rows[key]

    def ordered(self, table: sa.Table) -> list[Row]:
        """The rows of a table in key order, by bytes."""
        rows = self.shelves[table].rows
        return [rows[key] for key in sorted(rows, key=in_bytes)]

    def clear(self) -> None:
        for shelf in self.shelves.values():
            shelf.rows.clear()


Found = dict[sa.Table, dict[Key, Row | None]]
"""table -> full key -> the row, or None where it is known that there is none."""


class PartialRows:
    """Rows of one stream over what was loaded so far."""

    def __init__(self, stream: str, keys: Mapping[sa.Table, Callable[[Row], Key]], loaded: Found) -> None:
        self.stream = stream
        self._keys = keys
        self._loaded = loaded
        self.changes: Found = {}
        self.wanted: list[tuple[sa.Table, Key]] = []
        self.blanked = False
        """Whether nothing counts that the database holds."""

    def get(self, table: sa.Table, key: Key) -> Row | None:
        full = (self.stream, *key)
        changed = self.changes.get(table)
        if changed is not None and full in changed:
            return changed[full]
        if self.blanked:
            return None
        known = self._loaded[table]
        if full in known:
            return known[full]
        self.wanted.append((table, full))
        return None

    def put(self, table: sa.Table, row: Row) -> None:
        key = self._keys[table](row)
        if key[0] != self.stream:
            raise ValueError(f"a fold put a row of another stream into {table.name}")
        self.changes.setdefault(table, {})[key] = row

    def delete(self, table: sa.Table, key: Key) -> None:
        self.changes.setdefault(table, {})[(self.stream, *key)] = None

    def blank(self) -> None:
        self.blanked = True
        self.changes.clear()


class Changes(NamedTuple):
    """What folding a batch makes of one table."""

    rows: list[Row]
    gone: list[Key]
    blanked: list[Key]
    """(stream,) of those of which every row goes first."""


def write_changes(database: Database, changes: Mapping[sa.Table, Changes]) -> None:
    """Inside `writing` only."""
    for table, of in changes.items():
        if of.blanked:
            database.delete(table, ["stream"], of.blanked)
        database.replace(table, of.rows, of.gone)


def fold_all(events: Iterable[Event], rows: CompleteRows, folds: Mapping[str, Fold]) -> None:
    """Applied events of streams from their beginning, in log order."""
    for event in events:
        fold = folds.get(event.payload[0])
        if fold is not None:
            rows.stream = event.stream
            fold(event, rows)


def fold_onto(
    database: Database, definition: Definition, streams: Mapping[str, Sequence[Event]]
) -> dict[sa.Table, Changes]:
    """What the applied events of some streams, each in log order, make of the rows that the database holds."""
    keys = {table: key_of(table) for table in definition.tables}
    loaded: Found = {table: {} for table in definition.tables}
    results: dict[str, PartialRows] = {}
    again: Iterable[str] = streams
    while again:
        wanted: dict[sa.Table, set[Key]] = {}
        for stream in again:
            rows = results[stream] = PartialRows(stream, keys, loaded)
            for event in streams[stream]:
                fold = definition.folds.get(event.payload[0])
                if fold is not None:
                    fold(event, rows)
            for table, key in rows.wanted:
                wanted.setdefault(table, set()).add(key)
        again = _load(database, wanted, keys, loaded)
    return _changes(definition, results)


def _load(
    database: Database,
    wanted: Mapping[sa.Table, set[Key]],
    keys: Mapping[sa.Table, Callable[[Row], Key]],
    loaded: Found,
) -> set[str]:
    """Loads what is wanted; the streams of which a row was there after all."""
    there: set[str] = set()
    for table, missing in wanted.items():
        known = loaded[table]
        known.update(dict.fromkeys(missing))
        for row in database.find(table, key_columns(table), missing):
            known[keys[table](row)] = row
            there.add(row[0])
    return there


def _changes(definition: Definition, results: Mapping[str, PartialRows]) -> dict[sa.Table, Changes]:
    changes: dict[sa.Table, Changes] = {}
    blanked: list[Key] = [(stream,) for stream, result in results.items() if result.blanked]
    for table in definition.tables:
        of = Changes([], [], blanked)
        for result in results.values():
            for key, row in result.changes.get(table, {}).items():
                if row is None:
                    of.gone.append(key)
                else:
                    of.rows.append(row)
        if of.rows or of.gone or blanked:
            changes[table] = of
    return changes
