"""A simulated clinic's tables: every event is read and judged as meant, and there is something of everything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from events.memory_log import MemoryLog
from events.rules import Verdict
from projections.projector import project
from projections.store import open_tables
from projections.tables import STATE_TABLES
from services.simulation.traffic import simulate
from services.simulation.writing import write_simulation

EVENTS = 9_000
NOT_SIMULATED = {"restrictions", "resources", "identifiers", "documents"}
"""Erasure, imports, foreign numbers and scans are not part of a simulated clinic's day."""


def test_every_table_holds_something_and_every_verdict_is_meant(tmp_path: Path) -> None:
    log = MemoryLog()
    write_simulation(log, simulate(300, EVENTS, 11), lambda streams: {}, 11)
    tables = open_tables(f"sqlite:{tmp_path / 'tables.db'}", create=True)
    project(log, tables)
    with tables.reading():
        rows = Counter({table.name: sum(1 for _ in tables.all_rows(table)) for table in STATE_TABLES})
    assert {name for name in rows if not rows[name]} <= NOT_SIMULATED
    assert rows["patients"] >= 300
    verdicts = tables.verdicts()
    assert sum(verdicts.values()) == EVENTS, "some events could not be read"
    assert set(verdicts) == {Verdict.APPLIED, Verdict.DUPLICATE, Verdict.CONFLICT}
    assert verdicts[Verdict.APPLIED] > 0.98 * EVENTS
    tables.close()
