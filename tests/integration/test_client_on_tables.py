"""A client whose heads stand on real tables: as with services in production."""

from __future__ import annotations

import pytest

from events.errors import SetAside, TablesUnavailable
from events.heads import LogHeads
from events.position import EVENTS
from events.sqlite_log import SqliteLog
from projections.heads import TablesBase
from projections.projector import project
from projections.store import open_tables
from tests.client_world import client, commands, go_back, history, says


@pytest.fixture
def log(tmp_path):
    log = SqliteLog(tmp_path / "log.db", create=True, partitions={EVENTS: 2})
    yield log
    log.close()


@pytest.fixture
def tables(tmp_path):
    tables = open_tables(f"sqlite:{tmp_path / 'tables.db'}")
    yield tables
    tables.close()


def test_a_command_is_known_by_the_tables_and_by_what_came_after_them(log, tables):
    early = client(log)
    early.append("patient-a", says("one"), key="one")
    before = log.end()
    early.append("patient-a", says("two"), key="two")
    project(log, tables)
    early.append("patient-a", says("three"), key="three")
    writer = client(log, heads=LogHeads(log, TablesBase(tables)), seed=5)
    for name in ("one", "two", "three"):
        assert writer.append("patient-a", says(name), key=name).again
    assert writer.append("patient-a", says("four"), key="four").event.version == 4
    assert commands(history(log)["patient-a"]) == ["one", "two", "three", "four"]

    go_back(log, before, b"E" * 16)
    with pytest.raises(TablesUnavailable):
        writer.append("patient-a", says("five"), key="five")
    project(log, tables)
    assert writer.append("patient-a", says("one"), key="one").again
    with pytest.raises(SetAside) as caught:
        writer.append("patient-a", says("two"), key="two")
    assert caught.value.epoch == b"E" * 16
    done = writer.append("patient-a", says("two"), key="two", reapply=True)
    assert (done.event.version, done.event.epoch) == (2, b"E" * 16)
    assert writer.append("patient-a", says("two"), key="two").again


def test_a_lagging_projector_does_not_stop_writers(log, tables):
    writer = client(log, heads=LogHeads(log, TablesBase(tables)))
    for n in range(30):
        writer.append(f"patient-{n % 4}", says(str(n)), key=str(n))
        if n % 9 == 0:
            project(log, tables)
    assert sum(len(events) for events in history(log).values()) == 30
    assert all(writer.append(f"patient-{n % 4}", says(str(n)), key=str(n)).again for n in range(30))
