"""The projector's edges: leases, other logs, lost records, a database that is not there, and how much it asks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from events.errors import (
    BadConfiguration,
    Busy,
    Corrupt,
    LogGap,
    LogRecreated,
    LostData,
    Refused,
    TablesUnavailable,
)
from events.memory_log import MemoryLog
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import EMPTY, Effect, Link, Rewind
from projections import store
from projections.asof import as_of
from projections.bulk import rebuild, split
from projections.completing import complete_journal
from projections.copy_binary import numeric
from projections.digest import differences, digest, digest_at
from projections.lease import LEASE_MICROS, Lease, holder_name, taken
from projections.projector import project
from projections.rewinding import Span, changed_spans
from projections.store import Tables, open_tables
from projections.system_tables import JOURNAL
from tests.log_histories import History, encode_event, note, reading
from tests.tiny_tables import tiny

DATA = Partition(EVENTS, 0)


@pytest.fixture
def history() -> History:
    return History(7).run(40)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with closing(open_tables(f"sqlite:{tmp_path / 'tables.db'}", define=tiny)) as opened:
        yield opened


def other_of(tables: Tables) -> Tables:
    return open_tables(tables.url, define=tiny)


# ---- who projects


def test_a_held_lease_keeps_others_out_until_it_expires(tables: Tables, history: History) -> None:
    now = 1_000_000
    project(history.log, tables, hold=True, clock=lambda: now)
    history.run(5)
    with closing(other_of(tables)) as other:
        before = other.position()
        with pytest.raises(Busy):
            project(history.log, other, clock=lambda: now + LEASE_MICROS - 1)
        assert other.position() == before
        project(history.log, other, clock=lambda: now + LEASE_MICROS)
        assert other.position() == history.log.end()


def test_a_lease_given_back_is_free(tables: Tables, history: History) -> None:
    project(history.log, tables, hold=True, clock=lambda: 0)
    tables.release_lease()
    history.run(5)
    with closing(other_of(tables)) as other:
        project(history.log, other, hold=True, clock=lambda: 0)
        tables.release_lease()  # not its own: nothing happens
        assert other.lease() is not None


def test_an_idle_holder_renews_its_lease_before_it_ends(tables: Tables, history: History) -> None:
    for now in (0, LEASE_MICROS // 4, LEASE_MICROS * 3 // 4):
        project(history.log, tables, hold=True, clock=lambda now=now: now)
    lease = tables.lease()
    assert lease is not None
    assert lease.expires_at == LEASE_MICROS * 3 // 4 + LEASE_MICROS


def lease_of_a_child() -> tuple[Lease, subprocess.Popen[str]]:
    """A lease that another process took, and that process, which waits for its input to end."""
    words = "import sys; from projections.lease import holder_name; print(holder_name('x'), flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{words}; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    return Lease(child.stdout.readline().strip(), 10_000), child


@pytest.mark.parametrize("name", ["projector", "rebuild"])
def test_a_dead_process_of_this_machine_is_not_waited_for(name: str) -> None:
    held, child = lease_of_a_child()
    with child:
        with pytest.raises(Busy, match="holds the tables"):
            taken(name, held, "me", 0)
        child.kill()
    assert taken(name, held, "me", 0).holder == "me"


def test_a_killed_process_that_nobody_waited_for_is_gone_too() -> None:
    held, child = lease_of_a_child()
    with child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is over, and its number still taken
        assert taken("projector", held, "me", 0).holder == "me"


def test_a_number_used_again_is_another_process() -> None:
    machine, number, started, nonce = holder_name("x").split("/")
    with pytest.raises(Busy):
        taken("projector", Lease(f"{machine}/{number}/{started}/{nonce}", 10_000), "me", 0)
    before = f"{machine}/{number}/{int(started) - 1}/{nonce}"
    assert taken("projector", Lease(before, 10_000), "me", 0).holder == "me"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_of_a_holder_elsewhere_nobody_can_say_that_it_is_gone(part: int) -> None:
    """Another machine, another boot of one of this name, another container on it."""
    held, child = lease_of_a_child()
    with child:
        child.kill()
    machine, rest = held.holder.split("/", 1)
    parts = machine.split(" ")
    parts[part] = "elsewhere"
    with pytest.raises(Busy):
        taken("projector", Lease(f"{' '.join(parts)}/{rest}", 10_000), "me", 0)


def test_where_the_system_does_not_say_when_a_process_started_its_number_has_to_do() -> None:
    held, child = lease_of_a_child()
    machine, number, _, nonce = held.holder.split("/")
    silent = Lease(f"{machine}/{number}/?/{nonce}", 10_000)
    with child:
        with pytest.raises(Busy):
            taken("projector", silent, "me", 0)
        child.kill()
    assert taken("projector", silent, "me", 0).holder == "me"


def test_of_two_projectors_one_loses_and_changes_nothing(tables: Tables, history: History) -> None:
    """Both read the same cursor; the second to write finds it moved."""

    class Overtaking(MemoryLog):
        def __init__(self, log: MemoryLog) -> None:
            self.__dict__.update(log.__dict__)

        def read(self, partition, start, stop):
            for batch in super().read(partition, start, stop):
                if partition == DATA:
                    with closing(other_of(tables)) as other:
                        project(history.log, other)
                yield batch

    with pytest.raises(Busy):
        project(Overtaking(history.log), tables)
    assert tables.position() == history.log.end()
    assert digest(tables) == digest_at(lambda: history.log, history.log.end(), tiny)


# ---- which log


def test_another_log_is_refused(tables: Tables, history: History) -> None:
    project(history.log, tables)
    other = MemoryLog(log_id="another")
    with pytest.raises(LogRecreated):
        project(other, tables)


def test_a_log_made_again_is_adopted_only_with_all_that_the_tables_hold(
    tables: Tables, history: History
) -> None:
    project(history.log, tables)
    end = history.log.end()
    identity = {"rekam.events": "new", "rekam.access": "new", "rekam.control": "new"}
    with pytest.raises(LostData):
        tables.adopt(identity, end.replace({DATA: end[DATA] - 1}))
    tables.adopt(identity, end)
    assert tables.identity() == identity


def test_a_log_that_ends_before_the_tables_names_what_it_lacks(tables: Tables, history: History) -> None:
    project(history.log, tables)
    stop = history.log.end()[DATA]
    del history.log.records[DATA][-2:]
    with pytest.raises(LostData) as error:
        project(history.log, tables)
    assert f"{DATA} {stop - 2} to {stop - 1}" in str(error.value)


def test_a_missing_record_stops_the_projector_where_it_is(tables: Tables, history: History) -> None:
    history.log._first[DATA] = 3  # retention that should not have been there
    with pytest.raises(LogGap):
        project(history.log, tables)
    assert tables.position()[DATA] == 0


def test_a_rebuild_beyond_the_source_is_refused(tables: Tables, history: History) -> None:
    end = history.log.end()
    with pytest.raises(LostData):
        rebuild(lambda: history.log, end.replace({DATA: end[DATA] + 1}), tables)
    assert tables.position() == Position()


# ---- the database


def test_tables_that_are_not_there_are_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(TablesUnavailable):
        open_tables(f"sqlite:{tmp_path / 'none.db'}", create=False, define=tiny)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "postgresql+psycopg://h/db?schema=Bad Name", "postgresql+psycopg://h:x/"]
)
def test_a_url_that_is_none_of_ours_is_refused(url: str) -> None:
    with pytest.raises(BadConfiguration):
        open_tables(url, define=tiny)


def test_no_server_is_a_clear_error() -> None:
    with pytest.raises(TablesUnavailable) as error:
        open_tables("postgresql+psycopg://someone:secret@127.0.0.1:1/db", define=tiny)
    assert "secret" not in str(error.value)


def test_another_layout_asks_for_a_rebuild(
    tables: Tables, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(history.log, tables)
    monkeypatch.setattr(store, "FOLDS_VERSION", store.FOLDS_VERSION + 1)
    with pytest.raises(BadConfiguration):
        other_of(tables)
    with closing(open_tables(tables.url, define=tiny, check=False)) as opened:
        rebuild(lambda: history.log, history.log.end(), opened)
    with closing(other_of(tables)) as again:
        assert again.position() == history.log.end()


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "tables.db"
    path.write_bytes(b"This is no database, and long enough to look." * 400)
    with pytest.raises(Corrupt):
        open_tables(f"sqlite:{path}", define=tiny)


def test_a_full_disk_changes_nothing(tables: Tables, history: History) -> None:
    project(history.log, tables)
    before = tables.position(), digest(tables)
    pages = tables.database.fetch("PRAGMA page_count")[0][0]
    tables.database.execute(f"PRAGMA max_page_count = {pages}")
    stream = history.streams[0]
    for _ in range(200):
        event = history.event(stream, 1, None, None, note("a", "x" * 2000))
        history.send(EVENTS, stream, encode_event(event))
    with pytest.raises(TablesUnavailable) as error:
        project(history.log, tables)
    assert "room" in str(error.value)
    assert (tables.position(), digest(tables)) == before
    tables.database.execute("PRAGMA max_page_count = 1000000")
    project(history.log, tables)
    assert tables.position() == history.log.end()


def test_tables_deleted_under_the_projector_are_noticed(
    tables: Tables, history: History, tmp_path: Path
) -> None:
    project(history.log, tables)
    history.run(3)
    (tmp_path / "tables.db").unlink()
    with pytest.raises(TablesUnavailable):
        project(history.log, tables)


# ---- the swap


def test_a_rebuild_replaces_tables_that_others_have_open(
    tables: Tables, history: History, tmp_path: Path
) -> None:
    middle = history.torn()
    project(history.log, tables, middle)
    with closing(other_of(tables)) as other:
        with other.reading():
            seen = list(other.all_rows("readings"))
        rebuild(lambda: history.log, history.log.end(), tables)
        assert other.position() == tables.position() == history.log.end()
        assert digest(other) == digest(tables)
        project(history.run(3).log, other)
        assert digest(tables) == digest_at(lambda: history.log, history.log.end(), tiny)
    assert isinstance(seen, list)
    assert sorted(p.name for p in tmp_path.iterdir() if "fresh" in p.name) == []


def test_alone_the_file_is_exchanged(tables: Tables, history: History, tmp_path: Path) -> None:
    before = (tmp_path / "tables.db").stat().st_ino
    rebuild(lambda: history.log, history.log.end(), tables)
    assert (tmp_path / "tables.db").stat().st_ino != before
    assert digest(tables) == digest_at(lambda: history.log, history.log.end(), tiny)
    assert tables.database.fetch("PRAGMA journal_mode") == [("wal",)]


def test_a_rebuild_that_fails_leaves_the_tables_and_no_litter(
    tables: Tables, history: History, tmp_path: Path
) -> None:
    project(history.log, tables)
    before = digest(tables)
    (tmp_path / "tables.db.fresh-left").write_bytes(b"of one that was killed")
    history.log._first[DATA] = 3
    with pytest.raises(LogGap):
        rebuild(lambda: history.log, history.log.end(), tables)
    assert digest(tables) == before
    assert sorted(p.name for p in tmp_path.iterdir() if "fresh" in p.name) == []
    history.log._first[DATA] = 0
    rebuild(lambda: history.log, history.log.end(), tables)
    assert digest(tables) == before


def test_two_rebuilds_at_once_are_one_too_many(tables: Tables, history: History) -> None:
    with tables.database.writing():
        tables.take_lease(0, keep=True, name="rebuild")
    with closing(other_of(tables)) as other, pytest.raises(Busy):
        rebuild(lambda: history.log, history.log.end(), other, clock=lambda: 1)


def test_a_snapshot_of_another_history_is_refused(tables: Tables, history: History) -> None:
    class Elsewhere:
        position = history.log.end()
        links = (Link(b"x" * 16, position),)

        def holds(self, table: str) -> bool:
            return True

        def batches(self, table: str) -> list[tuple[object, ...]]:
            raise AssertionError("nothing of it is read")

    with pytest.raises(Refused):
        rebuild(lambda: history.log, history.log.end(), tables, snapshot=Elsewhere())
    assert complete_journal(lambda: history.log, tables).records == 0, "it is complete"


# ---- pure parts


def test_spans_that_change_effect() -> None:
    data = Position({DATA: 10, CONTROL_PARTITION: 0})
    a, b = b"a" * 16, b"b" * 16
    back = (0, Rewind(a, None, Position({DATA: 4})))
    before = Effect([], data)
    after = Effect([back], data.replace({CONTROL_PARTITION: 1}))
    assert set(changed_spans(before, after)) == {Span(None, DATA, 4, 10), Span(a, DATA, 0, 10)}
    undone = Effect([back, (1, Rewind(b, a, data))], data.replace({CONTROL_PARTITION: 2}))
    assert set(changed_spans(after, undone)) == {
        Span(None, DATA, 4, 10),
        Span(a, DATA, 0, 10),
        Span(b, DATA, 0, 10),
    }
    assert changed_spans(after, after) == []


def test_shares_cover_everything_once() -> None:
    position = Position(
        {Partition(EVENTS, 0): 10, Partition(EVENTS, 1): 3, Partition(EVENTS, 2): 0, CONTROL_PARTITION: 9}
    )
    for shares in range(1, 9):
        found = split(position, shares)
        assert len(found) == shares
        ranges = [r for share in found for r in share]
        seen = [(r.partition, offset) for r in ranges for offset in range(r.start, r.stop)]
        assert seen == [(p, n) for p in position for n in range(position[p] if p != CONTROL_PARTITION else 0)]


@pytest.mark.parametrize(
    "text", ["0", "0.00", "1.50", "-12345.678", "0.0001", "10000", "-0.5", "120", "99999999.99999999"]
)
def test_numerics_are_packed_as_psycopg_packs_them(text: str) -> None:
    from decimal import Decimal

    from psycopg.types.numeric import DecimalBinaryDumper

    assert numeric(text) == bytes(DecimalBinaryDumper(Decimal).dump(Decimal(text)))


def test_the_digest_is_what_its_description_says(tables: Tables) -> None:
    history = History(1)
    stream = history.streams[0]
    event = history.event(stream, 1, None, None, reading("r1", "1.50"))
    value = encode_event(event)
    history.send(EVENTS, stream, value)
    project(history.log, tables)
    found = digest(tables)["tables"]
    at = event.occurred_at
    rows = {
        "readings": f'["{stream}","r1","1.50",0,null,{at},"{event.event_id.hex()}"]\n',
        "notes": "",
        "streams": f'["{stream}",1,"{event.event_id.hex()}"]\n',
        "events": f'["{stream}",1,"{event.event_id.hex()}","care.ObservationRecorded",{at},{at},'
        f'["staff-1","nurse","test"],"{hashlib.sha256(value).hexdigest()}"]\n',
    }
    want = {
        n: {"rows": t.count("\n"), "digest": hashlib.sha256(t.encode()).hexdigest()} for n, t in rows.items()
    }
    assert found == want
    assert list(found) == ["readings", "notes", "streams", "events"]
    assert json.loads(json.dumps(found)) == want
    assert differences(found, {**want, "notes": want["readings"]}) == ["notes"]


def test_the_past_of_a_position_not_reached_is_refused(tables: Tables, history: History) -> None:
    with pytest.raises(Refused):
        as_of(tables, history.streams[0], history.log.end())
    assert tables.head("patient-nobody") == EMPTY


def test_a_long_stream_is_not_loaded_to_add_to_it(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a batch touches, its stream's other rows stay in the database."""
    history = History(3)
    stream = history.streams[0]
    previous = None
    for version in range(1, 301):
        event = history.event(stream, version, previous, None, reading(f"r{version}", "1"))
        history.send(EVENTS, stream, encode_event(event))
        previous = event.event_id
    project(history.log, tables)
    history.send(EVENTS, stream, encode_event(history.event(stream, 301, previous, None, reading("r7", "2"))))
    loaded = []
    find = tables.database.find
    monkeypatch.setattr(tables.database, "find", lambda *a: loaded.extend(find(*a)) or find(*a))
    project(history.log, tables)
    assert len(loaded) < 5
    assert len(tables.rows("readings", stream)) == 300
    assert len(tables.database.select(JOURNAL)) == 301


def test_tables_can_be_copied_by_their_file_alone_once_closed(
    tables: Tables, history: History, tmp_path: Path
) -> None:
    project(history.log, tables)
    want = digest(tables)
    tables.close()
    assert not (tmp_path / "tables.db-wal").exists()
    shutil.copy(tmp_path / "tables.db", tmp_path / "copy.db")
    with closing(open_tables(f"sqlite:{tmp_path / 'copy.db'}", define=tiny)) as copy:
        assert digest(copy) == want
