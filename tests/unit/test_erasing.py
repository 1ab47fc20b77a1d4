"""What erasing must not leave to a later step, and what becomes of keys that come back late."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from events.codec import encode_event
from events.log import LogReader
from events.patient_keys import ERASED, Erased, Mark
from projections.bulk import rebuild
from projections.digest import digest
from projections.projector import project
from projections.store import Tables
from replicator.backups import Kind
from replicator.erasures import read_erasures
from replicator.memory_store import MemoryStore
from replicator.pruning import GRACE_DAYS
from replicator.snapshot import open_snapshot
from replicator.targets import Target
from services.backups.policy import Hold, Keep, Policy
from services.backups.retaining import DAY_MILLIS
from services.erasing import Request as ErasureRequest
from services.erasing import erase, restrict, snapshots_until
from services.patients import HELD, RESTRICTED, standing
from services.projecting import catch_up
from services.recovery.acting import Report, Request, act, prepare
from services.replicating import ship, take_snapshot
from tests.log_histories import ACTOR, reading
from tests.property.test_laws import Life
from tests.systems import START, Died, TestSystem


@pytest.fixture
def system(tmp_path: Path) -> TestSystem:
    return TestSystem(f"sqlite:{tmp_path / 'tables.db'}")


def written(system: TestSystem, *, clear: bool = False) -> Life:
    """Two observations of each of three patients. `clear`: as before sealing was on."""
    life = Life(1, system)
    for stream in life.streams[:3]:
        previous = None
        for version in (1, 2):
            event = life.event(stream, version, previous, None, reading(f"r{version}", "72"))
            life.send("rekam.events", stream, encode_event(event) if clear else life.encode(event))
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


def backed_up(system: TestSystem) -> dict[str, bytes]:
    """The backup of patients' keys, as somebody copied it."""
    return {stored.key: system.key_store.get(stored.key) for stored in system.key_store.list("")}


def lose_keys_but_for(system: TestSystem, old: dict[str, bytes]) -> None:
    """The store of keys and its backup are gone, and an old copy lies in the backup's place."""
    system.kept_keys = system.new_keys()
    system.key_store = MemoryStore(system.clock)
    for key, data in old.items():
        system.key_store.create(key, data)


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


def recover(system: TestSystem, time: int | None = None) -> list[str]:
    told: list[str] = []
    request = Request(Target(time), ACTOR, "test")
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


def erase_whole(system: TestSystem, stream: str) -> None:
    erase(system, ErasureRequest(stream, ACTOR, "asked for", "court"), retention_years=25)


def test_an_erasure_of_events_in_the_clear_holds_without_the_store_of_keys_and_its_backup(
    system: TestSystem,
) -> None:
    """The ledger names keys, and the log which stream they were of."""
    erased, *others = written(system, clear=True).streams[:3]
    ship(system, system.log())
    before = system.clock.now
    erase_whole(system, erased)
    system.lose_keys()
    system.key_store = MemoryStore(system.clock)
    system.lose_tables()
    recover(system, before)
    with closing(system.tables()) as tables:
        assert shown(tables) == dict.fromkeys(others, 2)
    assert set(system.kept_keys.marks(ERASED)) == {erased}
    with pytest.raises(Erased):
        system.kept_keys.make([erased])


def test_who_was_erased_is_missed_by_nobody_where_the_store_of_keys_and_its_backup_are_lost(
    system: TestSystem,
) -> None:
    erased, *others = written(system).streams[:3]
    ship(system, system.log())
    erase_whole(system, erased)
    system.lose_keys()
    system.key_store = MemoryStore(system.clock)
    system.lose_tables()
    recover(system)
    assert set(system.kept_keys.missing().values()) == set(others)


def test_a_recovery_that_dies_with_its_keys_just_come_back_shows_nothing_of_the_erased(
    system: TestSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased = written(system).streams[0]
    ship(system, system.log())
    old = backed_up(system)
    erase_whole(system, erased)
    lose_keys_but_for(system, old)

    def die(*words: object) -> int:
        raise Died

    monkeypatch.setattr("services.recovery.keys.replay", die)
    with pytest.raises(Died):
        recover(system)
    assert all(key.secret is None for key in system.kept_keys.keys_of(erased))


def test_the_ledger_of_an_archive_that_comes_later_says_who_when_and_why(system: TestSystem) -> None:
    """Also where the store of keys was lost, and knows of the erasure by a ledger alone."""
    erased = written(system).streams[0]
    ship(system, system.log())
    old = backed_up(system)
    erase_whole(system, erased)
    lose_keys_but_for(system, old)
    recover(system)
    [entry] = read_erasures(system.archive())
    body = system.kept_keys.marks(ERASED)[erased].body
    assert (body["at"], body["actor"], body["reason"], body["order"]) == (
        entry.erased_at,
        ACTOR,
        "asked for",
        "court",
    )


def test_a_restriction_begins_and_ends_though_the_clock_was_set_back(system: TestSystem) -> None:
    stream = written(system).streams[0]
    request = ErasureRequest(stream, ACTOR, "asked for")
    for lift in (False, True, False, True):
        restrict(system, request, hold=False, lift=lift)
        assert (standing(system.kept_keys, stream, RESTRICTED) is None) == lift
        system.clock.now -= 5_000


def test_snapshots_may_hold_an_erased_patient_until_nothing_keeps_them_any_more() -> None:
    """What is built on a full backup keeps it beyond its own days, as does a lock; a hold for no known time."""
    day, grace = DAY_MILLIS, GRACE_DAYS * DAY_MILLIS

    def until(full: float, built: float, newest: int = 1, lock: int = 0, *holds: Hold) -> int | None:
        keep = {kind: Keep(1, built) for kind in Kind} | {Kind.FULL: Keep(newest, full)}
        return snapshots_until(Policy(keep, holds), 7 * day, lock, START)

    assert until(90, 30) == START + 90 * day + grace
    assert until(10, 30) == START + 37 * day + grace
    assert until(10, 3, newest=4) == START + 28 * day + grace
    assert until(10, 3, 1, 400 * day) == START + 400 * day + grace
    assert until(90, 30, 1, 0, Hold(0, 1, "a lawsuit")) is None


@pytest.mark.parametrize("hold", [False, True])
def test_restrictions_and_holds_outlive_the_store_of_keys_and_its_backup(
    system: TestSystem, hold: bool
) -> None:
    """Also where their events were set aside; one that was lifted stays so."""
    kept, lifted, *_ = written(system).streams
    ship(system, system.log())
    before = system.clock.now
    for stream, lift in ((kept, False), (lifted, False), (lifted, True)):
        restrict(system, ErasureRequest(stream, ACTOR, "asked for"), hold=hold, lift=lift)
    ship(system, system.log())
    for target in (None, before):
        system.lose_keys()
        system.key_store = MemoryStore(system.clock)
        recover(system, target)
        name = HELD if hold else RESTRICTED
        assert standing(system.kept_keys, kept, name) is not None
        assert standing(system.kept_keys, lifted, name) is None
        assert not system.kept_keys.marks(RESTRICTED if hold else HELD)
