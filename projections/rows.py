"""What a fold may touch: the rows of its event's own stream, table by table.

A fold is a pure function of an event and the rows so far: no clock, no network, no other stream. It must never
raise on an applied event, whatever the event refers to. It may be called more than once for the same event with
different rows (the projector first runs folds on the guess that a row it has not loaded is absent, loads what
they asked for, and runs them again), so it keeps nothing of its own between calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import sqlalchemy as sa

from events.envelope import Event

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = tuple[Any, ...]


class Rows(Protocol):
    """The state rows of one stream while its events are folded.

    `key` is the tuple of the key columns after `stream`; `row` is the full tuple in column order, `stream` first.
    What a decoded event holds fits every database (the codec checked it), so rows are kept as they are.
    """

    def get(self, table: sa.Table, key: Key) -> Row | None: ...

    def put(self, table: sa.Table, row: Row) -> None: ...

    def delete(self, table: sa.Table, key: Key) -> None: ...

    def blank(self) -> None:
        """Takes every row of the stream away, of every table."""
        ...


Fold: TypeAlias = Callable[[Event, Rows], None]
