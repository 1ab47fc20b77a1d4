"""After a recovery: that the tables are whole, by counts that the log alone decides."""

from __future__ import annotations

from events.errors import LostData
from events.log import EventLog
from events.position import EVENTS
from events.rules import Verdict
from projections.store import Tables


def verify(log: EventLog, tables: Tables) -> dict[str, int]:
    """Compares what the tables hold with the log. Raises LostData naming what does not add up.

    Every record of rekam.events up to the cursor is in the journal or listed as unreadable; the streams' versions add
    up to the events applied; the log holds everything up to the cursor.
    """
    with tables.reading():
        position = tables.position()
        counts = {
            "records": sum(position.of(EVENTS).values()),
            "journal": _count(tables, "SELECT count(*) FROM journal"),
            "unreadable": _count(tables, "SELECT count(*) FROM unreadable WHERE topic = ?", EVENTS),
            "applied": _count(
                tables, "SELECT count(*) FROM journal WHERE verdict = ?", Verdict.APPLIED.value
            ),
            "versions": _count(tables, "SELECT coalesce(sum(version), 0) FROM streams"),
            "streams": _count(tables, "SELECT count(*) FROM streams"),
        }
    end = log.end()  # read last: a projector may have moved the tables meanwhile
    if not end.covers(position):
        raise LostData(
            f"the tables stand at {position}, beyond the log's end {end}", "run the recovery again"
        )
    if counts["journal"] + counts["unreadable"] != counts["records"]:
        raise LostData(f"the journal does not hold every record up to {position}: {counts}", "run it again")
    if counts["versions"] != counts["applied"]:
        raise LostData(f"the streams' versions do not add up to the events applied: {counts}", "run it again")
    return counts


def _count(tables: Tables, sql: str, *parameters: str) -> int:
    return int(tables.database.fetch(sql, parameters)[0][0])
