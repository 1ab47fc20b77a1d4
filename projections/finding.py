"""Finding events in the journal: by whom, of which type, about whom, when; and the minutes that were unlike others.

For whoever looks for the moment before something went wrong. Times are log times, microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from events.envelope import EventId
from projections.store import JournalRow, Tables
from projections.system_tables import JOURNAL

MINUTE_MICROS = 60_000_000


@dataclass(frozen=True)
class Sought:
    """Which events. None: whatever it is."""

    stream: str | None = None
    actor: str | None = None
    """An actor's id, alone or as it is shown: behind the role and a colon."""
    types: Collection[str] | None = None
    """As the journal names them: `laboratory.ResultReleased`."""
    verdict: str | None = None
    since: int | None = None
    until: int | None = None
    """Both inclusive."""


class Burst(NamedTuple):
    """Events of one type by one actor in one minute."""

    minute: int
    """When it began."""
    type: str
    actor_id: str
    events: int
    streams: int
    first: EventId
    """The first of them on the log."""


def find_events(tables: Tables, sought: Sought, limit: int) -> list[JournalRow]:
    """The newest `limit` of them, oldest first. Raises Busy while the journal is being filled."""
    tables.require_journal()
    where, given = _where(tables, sought)
    newest = f"{where} ORDER BY logged_at DESC, log_partition DESC, log_offset DESC LIMIT ?"
    rows = tables.database.select(JOURNAL, newest, (*given, limit))
    return [JournalRow(*row) for row in reversed(rows)]


def count_events(tables: Tables, sought: Sought) -> int:
    tables.require_journal()
    where, given = _where(tables, sought)
    return int(tables.database.fetch(f"SELECT count(*) FROM journal {where}", given)[0][0])


def bursts(tables: Tables, sought: Sought, limit: int) -> list[Burst]:
    """The `limit` largest, largest first. Inside `tables.reading()`; raises Busy while the journal is being filled."""
    tables.require_journal()
    where, given = _where(tables, sought)
    minute = f"({_micros(tables, 'logged_at')} / {MINUTE_MICROS})"
    sql = (
        f"SELECT {minute}, type, actor_id, count(*), count(DISTINCT stream) FROM journal {where}"
        f" GROUP BY {minute}, type, actor_id ORDER BY 4 DESC, 1, 2, 3 LIMIT ?"
    )
    return [
        Burst(
            int(began) * MINUTE_MICROS,
            kind,
            actor,
            events,
            streams,
            _first(tables, sought, began, kind, actor),
        )
        for began, kind, actor, events, streams in tables.database.fetch(sql, (*given, limit))
    ]


def _first(tables: Tables, sought: Sought, minute: int, kind: str, actor: str) -> EventId:
    since = minute * MINUTE_MICROS
    of = Sought(sought.stream, actor, [kind], sought.verdict, since, since + MINUTE_MICROS - 1)
    where, given = _where(tables, of)
    oldest = f"{where} ORDER BY logged_at, log_partition, log_offset LIMIT 1"
    return JournalRow(*tables.database.select(JOURNAL, oldest, given)[0]).event_id


def _where(tables: Tables, sought: Sought) -> tuple[str, list[Any]]:
    parts, given = [], []
    for condition, values in _conditions(tables, sought):
        parts.append(condition)
        given += values
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), given


def _conditions(tables: Tables, sought: Sought) -> Iterator[tuple[str, list[Any]]]:
    for column, value in (("stream", sought.stream), ("verdict", sought.verdict)):
        if value is not None:
            yield f"{column} = ?", [value]
    if sought.actor is not None:
        yield "(actor_id = ? OR actor_role || ':' || actor_id = ?)", [sought.actor, sought.actor]
    if sought.types is not None:
        yield f"type IN ({', '.join('?' * len(sought.types))})", list(sought.types)
    logged = _micros(tables, "logged_at")
    for compared, micros in ((">=", sought.since), ("<=", sought.until)):
        if micros is not None:
            yield f"{logged} {compared} ?", [micros]


def _micros(tables: Tables, column: str) -> str:
    """An instant as a whole number, in either database's words."""
    if tables.database.dialect.name == "sqlite":
        return column
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"
