"""What erasing must not leave to a later step, and what becomes of keys that come back late."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from events.log import LogReader
from events.patient_keys import ERASED, Mark
from projections.bulk import rebuild
from projections.digest import digest
from projections.projector import project
from projections.store import Tables
from replicator.memory_store import MemoryStore
from replicator.snapshot import open_snapshot
from replicator.targets import Target
from services.projecting import catch_up
from services.recovery.acting import Report, Request, act, prepare
from services.replicating import ship, take_snapshot
from tests.log_histories import ACTOR, reading
from tests.property.test_laws import Life
from tests.systems import TestSystem


@pytest.fixture
def system(tmp_path: Path) -> TestSystem:
    return TestSystem(f"sqlite:{tmp_path / 'tables.db'}")


def written(system: TestSystem) -> Life:
    """Two observations of each of three patients."""
    life = Life(1, system)
    for stream in life.streams[:3]:
        previous = None
        for version in (1, 2):
            event = life.event(stream, version, previous, None, reading(f"r{version}", "72"))
            life.send("rekam.events", stream, life.encode(event))
            previous = event.event_id
    return life


def destroy(system: TestSystem, stream: str) -> None:
    system.kept_keys.destroy(stream, Mark(stream, ERASED, {"at": 1}))


def shown(tables: Tables) -> dict[str, int]:
    """stream -> observations."""
    found: dict[str, int] = {}
    with tables.reading():
        for row in tables.all_rows("observations"):
            found[row[0]] = found.get(row[0], 0) + 1
    return found


def test_tables_from_an_older_snapshot_never_show_the_erased(system: TestSystem) -> None:
    """They serve at once, long before the journal is there from which a stream could be folded anew."""
    erased, *others = written(system).streams[:3]
    with closing(system.tables()) as tables:
        catch_up(system.log(), tables)
        ship(system, system.log(), entries=[take_snapshot(system, tables)])
        assert shown(tables) == dict.fromkeys([erased, *others], 2)
    destroy(system, erased)
    archive = system.archive()
    snapshot = open_snapshot(archive, archive.snapshots[0].id)
    with closing(system.tables()) as tables:
        rebuild(system.log_opener(), system.log().end(), tables, snapshot=snapshot)
        assert tables.journal_from() is not None
        assert shown(tables) == dict.fromkeys(others, 2)
        assert tables.head(erased).version == 2


def test_who_was_erased_elsewhere_is_gone_with_the_next_look(system: TestSystem) -> None:
    """By a ledger, or by another process: no event of it needs to stand in the effective history."""
    erased, *others = written(system).streams[:3]
    log: LogReader = system.log()
    with closing(system.tables()) as tables:
        project(log, tables)
        destroy(system, erased)
        project(log, tables)
        assert shown(tables) == dict.fromkeys(others, 2)
        before = digest(tables)
        project(log, tables)
        assert digest(tables) == before


def recover(system: TestSystem) -> list[str]:
    told: list[str] = []
    request = Request(Target(), ACTOR, "test")
    report = Report(started=system.clock())
    view, plan = prepare(system, request, told.append, ship_first=True)
    act(system, request, view, plan, report, told.append)
    return told


def test_keys_that_come_back_late_open_what_was_folded_without_them(system: TestSystem) -> None:
    written(system)
    with closing(system.tables()) as tables:
        catch_up(system.log(), tables)
        truth = digest(tables)
    ship(system, system.log())
    system.lose_keys()
    aside, system.key_store = system.key_store, MemoryStore(system.clock)
    system.lose_tables()
    recover(system)
    with closing(system.tables()) as tables:
        assert shown(tables) == {}
    assert len(system.kept_keys.missing()) == 3
    system.key_store = aside
    told = recover(system)
    assert any("3 patients came back" in line for line in told)
    with closing(system.tables()) as tables:
        assert digest(tables) == truth
    assert system.kept_keys.missing() == system.kept_keys.returned() == {}
