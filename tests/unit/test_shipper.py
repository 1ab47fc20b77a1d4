"""The shipper: what it ships comes back, checkpoints follow each other, and a log that does not continue stops it."""

import threading
from itertools import pairwise

import pytest

from events import catalogue
from events.codec import MAGIC, encode_control, heartbeat
from events.errors import ArchiveDiverged, Busy, LogGap, LogRecreated, LogUnavailable, StoreUnavailable
from events.log import Entry, Record, TimeType
from events.memory_log import MemoryLog
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from replicator import shipper as shipping
from replicator.entries import SegmentEntry
from replicator.stores import AlreadyThere
from tests.archives import PARTITIONS, World, event_value, everything, logged, rewind_value

DATA = Partition(EVENTS, 0)


def test_everything_shipped_comes_back_as_it_was():
    world = World()
    world.write(100)
    foreign = [(None, (), None), (b"k", (), b"foreign bytes"), (None, (("h", None), ("g", b"1")), b"")]
    held = world.log.records[DATA]
    for key, headers, value in foreign:
        held.append(Record(len(held), held[-1].time, TimeType.CREATE, key, headers, value))
    shipped = world.ship()
    assert shipped.checkpoint == 1
    assert shipped.position == world.log.end()
    assert shipped.records == world.log.end().records()
    assert everything(world.index()) == logged(world.log, world.log.end())


def test_checkpoints_add_up():
    world = World()
    for n in range(1, 6):
        world.write(30)
        assert world.ship().checkpoint == n
    index = world.index()
    assert everything(index) == logged(world.log, world.log.end())
    assert [mark.time for mark in index.marks] == sorted({mark.time for mark in index.marks})
    assert index.head.n == 5
    assert index.identity() == world.log.identity()


def test_segments_end_by_size_and_join():
    world = World(segment_bytes=1_000)
    world.write(100)
    world.ship()
    held = world.index().segments[DATA]
    assert len(held) > 3
    assert all(a.stop == b.first for a, b in pairwise(held))
    assert all(s.plain_bytes < 3_000 for s in held)


def test_an_idle_log_gets_heartbeats_only():
    world = World()
    world.write(3)
    first, second = world.ship(), world.ship()
    assert second.records == 1
    assert second.position == first.position.replace({CONTROL_PARTITION: 2})


def test_times_rise_when_the_clock_stands_or_runs_back():
    world = World()
    world.write(3)
    shipper = world.shipper()
    times = [shipper.ship_once().time for _ in range(3)]
    world.clock.now -= 5_000
    times.append(shipper.ship_once().time)
    assert times == list(range(times[0], times[0] + 4))


def test_schemas_that_values_need_are_archived_once():
    world = World()
    world.write(3)
    world.log.append(EVENTS, [Entry(b"x", MAGIC + b"nobodies" + b"value")])
    world.ship()
    world.write(3)
    world.ship()
    index = world.index()
    needed = {catalogue.current_fingerprint(), catalogue.current_fingerprint(catalogue.CONTROL)}
    assert {s.fingerprint for s in index.schemas} == needed
    assert len(index.schemas) == 2
    assert set(index.manifest.schemas) == needed
    for fingerprint in needed:
        assert index.schema_text(fingerprint) == catalogue.schema_json(fingerprint)
    assert index.schema_text(b"nobodies") is None


def test_entries_tell_times_epochs_and_rewinds():
    world = World(segment_bytes=10**6)
    one, two = b"1" * 16, b"2" * 16
    world.log = MemoryLog({**PARTITIONS, EVENTS: 1}, clock=world.clock)
    world.write(4)
    world.write(3, one)
    world.log.append(EVENTS, [Entry(b"x", b"foreign"), Entry(b"x", None)])
    world.write(1)
    world.write(2, two)
    world.control(rewind_value(1, one, None, Position()))
    world.control(rewind_value(2, two, one, Position()))
    world.ship()
    index = world.index()
    (data,) = index.segments[DATA]
    assert data.epochs == ((None, 0), (one, 4), (two, 10))
    times = [r.time for r in world.log.records[DATA]]
    assert (data.first_time, data.last_time, data.min_time, data.max_time) == (
        times[0],
        times[-1],
        min(times),
        max(times),
    )
    assert index.rewinds() == {one: 0, two: 1}
    assert [(offset, r.epoch, r.after) for offset, r in index.control] == [(0, one, None), (1, two, one)]


# ---- the log does not continue the archive


def test_a_topic_made_again_is_not_taken_for_a_continuation():
    world = World()
    world.write(20)
    world.ship()
    other = MemoryLog(PARTITIONS, clock=world.clock, log_id="another")
    other.records = {p: list(records) for p, records in world.log.records.items()}
    before = other.end()
    world.log = other
    with pytest.raises(LogRecreated, match=EVENTS):
        world.ship()
    assert other.end() == before, "not even a heartbeat is appended"


def test_a_rebuilt_log_is_a_new_generation():
    world = World()
    world.write(20)
    world.ship()
    held = world.index().end()
    rebuilt = MemoryLog(PARTITIONS, clock=world.clock, log_id="another")
    rebuilt.records = {p: records[: held[p]] for p, records in world.log.records.items()}
    world.log = rebuilt
    epoch = b"g" * 16
    world.control(rewind_value(9, epoch, None, held, "generation"))
    world.write(5, epoch)
    world.ship()
    index = world.index()
    assert (index.manifest.generation.number, index.manifest.generation.epoch) == (1, epoch)
    assert index.identity() == rebuilt.identity()
    assert everything(index) == logged(rebuilt, rebuilt.end())
    world.ship()
    assert world.index().manifest.generation.number == 1


def test_a_shorter_log_is_named():
    world = World()
    world.write(20)
    world.ship()
    del world.log.records[DATA][5:]
    with pytest.raises(LogGap, match=rf"{DATA}.*5"):
        world.ship()


def test_other_records_at_the_same_offsets_are_named():
    world = World()
    world.write(20)
    world.ship()
    last = world.log.records[DATA][-1]
    world.log.records[DATA][-1] = last._replace(value=last.value + b"!")
    with pytest.raises(ArchiveDiverged, match=f"{DATA}.*{last.offset}"):
        world.ship()


def test_a_log_that_lost_its_beginning_is_named(monkeypatch):
    world = World()
    world.write(20)
    monkeypatch.setattr(world.log, "start", lambda: Position({DATA: 3}))
    with pytest.raises(LogGap, match="0 to 2"):
        world.ship()


# ---- two shippers, lost answers, faults


def test_of_two_shippers_the_later_goes_on_from_the_winner():
    world = World()
    world.write(10)
    one, two = world.shipper(name="one"), world.shipper(name="two")
    assert (one.head.n, two.head.n) == (0, 0)
    one.ship_once()
    world.write(10)
    assert two.ship_once().checkpoint == 2
    world.write(10)
    assert one.ship_once().checkpoint == 3
    assert everything(world.index()) == logged(world.log, world.log.end())


class Racing:
    """A store in which another shipper commits just before each of our first `races` notes."""

    def __init__(self, world, races):
        self.world, self.races = world, races
        self.store = world.store

    def __getattr__(self, name):
        return getattr(self.store, name)

    def create(self, key, data):
        if key.endswith("/note") and self.races:
            self.races -= 1
            self.world.ship()
        self.store.create(key, data)


@pytest.mark.parametrize("races", [1, 3])
def test_a_lost_race_is_run_again_and_its_objects_are_orphans(races):
    world = World()
    world.write(40)
    racer = World(log=world.log, store=Racing(world, races), clock=world.clock)
    shipped = racer.ship()
    assert shipped.checkpoint == races + 1
    assert everything(world.index()) == logged(world.log, world.log.end())


def test_who_loses_every_race_stops():
    world = World()
    world.write(5)
    racer = World(log=world.log, store=Racing(world, 10**6), clock=world.clock)
    with pytest.raises(Busy):
        racer.ship()
    assert everything(world.index()) == logged(world.log, world.index().end())


def test_a_note_whose_answer_was_lost_counts():
    world = World()
    world.write(5)
    create = world.store.create

    def answer_lost(key, data):
        create(key, data)
        if key.endswith("/note"):
            raise AlreadyThere("told by a retry")

    world.store.create = answer_lost
    assert world.ship().checkpoint == 1
    assert world.index().head.n == 1


def test_a_rolled_back_archive_is_not_shipped_to():
    world = World()
    world.write(5)
    world.ship()
    early = dict(world.store._objects)
    world.write(5)
    note = world.ship().note
    world.store._objects = early
    before = world.log.end()
    with pytest.raises(ArchiveDiverged, match="rolled back"):
        world.ship(seen=note)
    assert world.log.end() == before


# ---- lag, and shipping on and on


def test_lag_is_what_is_not_shipped():
    world = World()
    shipper = world.shipper()
    assert shipper.lag() == (0, 0, True, 0.0)
    world.write(10, size=100)
    oldest = min(records[0].time for records in world.log.records.values() if records)
    world.clock.now = oldest + 4_500
    lag = shipper.lag()
    assert (lag.records, lag.exact, lag.age_seconds) == (10, True, 4.5)
    assert lag.size_bytes >= 1_000
    shipper.ship_once()
    assert shipper.lag().records == 0


def test_a_long_lag_is_reckoned(monkeypatch):
    monkeypatch.setattr(shipping, "LAG_SAMPLE_RECORDS", 10)
    world = World()
    world.write(200, size=100)
    lag = world.shipper().lag()
    assert (lag.records, lag.exact) == (200, False)
    assert 200 * 100 < lag.size_bytes < 200 * 250


def test_heartbeats_alone_are_not_due():
    world = World()
    world.write(1)
    shipper = world.shipper()
    assert shipper.due()
    shipper.ship_once()
    assert not shipper.due()
    beat = heartbeat(control_id=bytes(16), recorded_at=0, actor=shipping.ACTOR, shipper="of another archive")
    world.control(encode_control(beat))
    assert not shipper.due()
    world.control(b"something else")
    assert shipper.due()
    shipper.ship_once()
    world.write(1)
    assert shipper.due()
    shipper.ship_once()
    world.clock.now += int(shipping.IDLE_SECONDS * 1000)
    assert shipper.due()


def test_run_ships_goes_on_after_faults_and_stops():
    world = World()
    world.write(30)
    faults = [LogUnavailable("down"), StoreUnavailable("down")]
    told, done = [], threading.Event()
    append = world.log.append

    def failing(topic, entries):
        if faults:
            raise faults.pop()
        return append(topic, entries)

    def report(news):
        told.append(news)
        if len(told) == 3:
            done.set()

    world.log.append = failing
    world.shipper().run(done, 0.001, report)
    assert [type(news).__name__ for news in told] == ["StoreUnavailable", "LogUnavailable", "Shipped"]
    assert everything(world.index()) == logged(world.log, world.log.end())


def test_run_does_not_go_on_after_lost_data():
    world = World()
    world.write(30)
    world.ship()
    del world.log.records[DATA][3:]
    with pytest.raises(LogGap):
        world.shipper().run(GivesUp(), 0.001)


class GivesUp(threading.Event):
    """Is never set, and ends a loop that should have ended."""

    rounds = 0

    def wait(self, timeout=None):
        self.rounds += 1
        assert self.rounds < 20, "it went on"
        return False


def test_a_heartbeat_that_is_not_where_it_was_appended_stops(monkeypatch):
    world = World()
    monkeypatch.setattr(shipping, "encode_control", lambda _control: event_value(1))
    read = world.log.read

    def lying(partition, start, stop):
        for batch in read(partition, start, stop):
            yield [r._replace(value=b"another") if partition == CONTROL_PARTITION else r for r in batch]

    monkeypatch.setattr(world.log, "read", lying)
    with pytest.raises(LogGap, match="heartbeat"):
        world.ship()


def test_entries_are_in_the_order_of_partitions_and_offsets():
    world = World(segment_bytes=500)
    world.write(60)
    world.ship()
    entries = [e for e in world.index().entries if isinstance(e, SegmentEntry)]
    assert [(e.partition, e.first) for e in entries] == sorted((e.partition, e.first) for e in entries)
