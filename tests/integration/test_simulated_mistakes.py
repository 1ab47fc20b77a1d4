"""The human error that recoveries are practised on: it voids standing records, and every event of it applies."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.memory_log import MemoryLog
from projections.projector import project
from projections.store import Tables, open_tables
from services.simulation.mistakes import KINDS, victims, write_mistakes
from services.simulation.traffic import simulate
from services.simulation.writing import write_simulation

EVENTS = 1_500
AT = 1_800_000_000_000_000


@pytest.fixture
def clinic(tmp_path: Path) -> tuple[MemoryLog, Tables]:
    log = MemoryLog()
    write_simulation(log, simulate(20, EVENTS, 4), lambda streams: {}, 4)
    tables = open_tables(f"sqlite:{tmp_path / 'tables.db'}", create=True)
    project(log, tables)
    return log, tables


def voided(tables: Tables) -> int:
    with tables.reading():
        return sum(row[3] is not None for name in KINDS for row in tables.all_rows(name))


def test_a_mistake_voids_as_many_records_as_asked(clinic: tuple[MemoryLog, Tables]) -> None:
    log, tables = clinic
    before = voided(tables)
    assert write_mistakes(log, tables, 100, AT) == 100
    project(log, tables)
    assert voided(tables) == before + 100
    assert write_mistakes(log, tables, 50, AT + 1) == 50
    project(log, tables)
    assert voided(tables) == before + 150, "the same records were voided again"


def test_it_voids_no_more_than_there_is(clinic: tuple[MemoryLog, Tables]) -> None:
    log, tables = clinic
    count = len(victims(tables, 10**6))
    assert write_mistakes(log, tables, 10**6, AT) == count
    project(log, tables)
    assert victims(tables, 1) == []
    assert write_mistakes(log, tables, 10, AT + 1) == 0
