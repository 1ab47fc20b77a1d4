"""Opening and reading archives: damage, loss and rollback are named; what was not committed does not count."""

import hashlib
import json

import pytest

from events.effective import cut
from events.errors import (
    ArchiveDiverged,
    ArchiveGap,
    BeyondArchive,
    Corrupt,
    LostData,
    Refused,
    StoreUnavailable,
)
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from replicator import fetching
from replicator.archive import Archive, open_archive
from replicator.canonical import canonical
from replicator.encryption import Identity, new_identity
from replicator.memory_store import MemoryStore
from replicator.note import Signer
from replicator.targets import Target, resolve
from tests.archives import (
    ARCHIVE,
    CLINIC,
    IDENTITY,
    RECIPIENT,
    SIGNER,
    World,
    create_archive,
    everything,
    logged,
    rewind_value,
)

DATA = Partition(EVENTS, 0)


@pytest.fixture
def world():
    """Three checkpoints, several segments each."""
    made = World(segment_bytes=800)
    for _ in range(3):
        made.write(40)
        made.ship()
    return made


def objects(world):
    return world.store._objects


def replace(world, key, data):
    objects(world)[key] = (data, 0)


def read_all(world, **settings):
    return everything(world.index(**settings))


def keys(world, part):
    return [key for key in objects(world) if part in key]


# ---- tampering


def changes(data):
    yield "first byte", bytes([data[0] ^ 1]) + data[1:]
    yield (
        "middle byte",
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    )
    yield "last byte", data[:-1] + bytes([data[-1] ^ 1])
    yield "cut in half", data[: len(data) // 2]
    yield "cut by one", data[:-1]
    yield "longer by one", data + b"\0"
    yield "empty", b""


@pytest.mark.parametrize(
    "part", ["log/rekam.events/0", "log/rekam.control", "schemas/", ".manifest.json", "/note", "archive.json"]
)
def test_any_changed_object_is_named(world, part):
    want = logged(world.log, world.index().end())
    for key in keys(world, part):
        original = objects(world)[key][0]
        for _, changed in changes(original):
            replace(world, key, changed)
            with pytest.raises((LostData, Refused)) as told:
                index = world.index()
                everything(index)
                for schema in index.schemas:
                    index.schema_text(schema.fingerprint)
            number = str(int(key.split("/")[1])) if key.startswith("checkpoints/") else key
            assert number in str(told.value), "it does not say where"
        replace(world, key, original)
    assert read_all(world) == want


@pytest.mark.parametrize("part", ["log/rekam.events/0", "log/rekam.control", ".manifest.json", "/note"])
def test_any_missing_object_is_named(world, part):
    for key in keys(world, part)[
        :-1
    ]:  # without the last note the archive is an earlier one: see the rollback test
        kept = objects(world).pop(key)
        with pytest.raises(ArchiveGap):
            read_all(world)
        objects(world)[key] = kept


def test_swapped_segments_are_noticed(world):
    one, two = keys(world, "log/rekam.events/0")[:2]
    objects(world)[one], objects(world)[two] = objects(world)[two], objects(world)[one]
    with pytest.raises(Corrupt, match="log/"):
        read_all(world)


def test_damage_is_noticed_before_any_record_of_the_segment_comes_out(world):
    key = sorted(keys(world, "log/rekam.events/0"))[1]
    replace(world, key, objects(world)[key][0][:-1] + b"?")
    index = world.index()
    first = index.segments[DATA][0].stop
    came = []
    with pytest.raises(Corrupt):
        for batch in index.read(DATA, 0, index.end()[DATA]):
            came += batch
    assert came == world.log.records[DATA][:first]


def test_an_archive_that_was_rolled_back_or_rewritten_shows(world):
    seen = world.index().head.note
    world.write(5)
    newer = world.ship().note
    assert world.index(seen=seen).head.n == 4
    assert world.index(seen=newer).head.n == 4
    for key in keys(world, "checkpoints/000000000004/"):
        del objects(world)[key]
    assert world.index(seen=seen).head.n == 3
    with pytest.raises(ArchiveDiverged, match="rolled back"):
        world.index(seen=newer)
    world.write(5)
    world.ship()
    with pytest.raises(ArchiveDiverged, match="rewritten"):
        world.index(seen=newer)


def test_a_history_forged_with_another_key_does_not_open(world):
    forger = Signer(SIGNER.verifier.name, b"f" * 32)
    store = MemoryStore()
    archive = Archive.create(
        store, forger, clinic_id=CLINIC, clinic_name="Klinik", archive_id=ARCHIVE, recipients=[RECIPIENT]
    )
    World(store=store, log=world.log, clock=world.clock, archive=archive).ship()
    with pytest.raises(Corrupt, match="no key that is trusted"):
        open_archive(store, IDENTITY, verifiers=[SIGNER.verifier])


def test_only_a_key_from_elsewhere_attests(world):
    assert world.index().attested
    assert not open_archive(world.store, IDENTITY).attested


def test_a_manifest_that_the_note_does_not_sign_is_an_orphan(world):
    (key,) = keys(world, "checkpoints/000000000002/0") or keys(world, "checkpoints/000000000002/")[:1]
    data = objects(world)[next(k for k in keys(world, "checkpoints/000000000002/") if k.endswith(".json"))][0]
    other = json.loads(data)
    other["time"] += 1
    orphan = canonical(other)
    for digest in ("0" * 64, "f" * 64, hashlib.sha256(orphan).hexdigest()):
        world.store.create(f"checkpoints/000000000002/{digest}.manifest.json", orphan)
    assert read_all(world) == logged(world.log, world.index().end())
    assert world.archive.head().n == 3
    assert key


def test_uncommitted_objects_do_not_count(world):
    want = read_all(world)
    world.store.create(f"checkpoints/000000000004/{'0' * 64}.manifest.json", b"{}")
    world.store.create(f"log/rekam.events/0/2026-01-01/{0:020d}-5-{'0' * 64}.avro.age", b"orphan")
    world.store.create("checkpoints/merged/later", b"of a newer release")
    assert read_all(world) == want
    world.write(5)
    assert world.ship().checkpoint == 4
    assert read_all(world) == logged(world.log, world.index().end())


# ---- opening


def test_no_archive_is_not_an_empty_archive():
    with pytest.raises(Refused, match=r"archive\.json"):
        open_archive(MemoryStore())


def test_a_newer_format_is_refused_with_a_hint(world):
    config = json.loads(objects(world)["archive.json"][0])
    replace(world, "archive.json", canonical({**config, "format": 2}))
    with pytest.raises(Refused, match="newer release"):
        world.index()


def test_an_archive_without_checkpoints_says_so():
    world = World()
    index = world.index()
    assert index.restorable is None
    assert index.holdings().range is None
    assert index.end() == Position()
    with pytest.raises(BeyondArchive):
        _ = index.manifest
    with pytest.raises(BeyondArchive):
        list(index.read(DATA, 0, 1))


def test_creating_twice_is_once_and_another_is_refused():
    store = MemoryStore()
    create_archive(store)
    create_archive(store)
    with pytest.raises(Refused):
        create_archive(store, recipients=[])


def test_refreshing_reads_what_is_new(world):
    index = world.index()
    world.write(10)
    world.ship()
    assert index.head.n == 3
    index.refresh()
    assert index.head.n == 4
    assert everything(index) == logged(world.log, world.log.end())
    gets = []
    get = world.store.get
    world.store.get = lambda key, *rest: gets.append(key) or get(key, *rest)
    index.refresh()
    assert gets == []


def test_a_store_that_is_down_is_not_damage(world):
    def down(*_args):
        raise StoreUnavailable("down")

    index = world.index()
    world.store.get = down
    with pytest.raises(StoreUnavailable):
        list(index.read(DATA, 0, 10))
    with pytest.raises(StoreUnavailable):
        world.index()


# ---- reading


def test_any_range_is_read(world):
    index = world.index()
    records = world.log.records[DATA]
    end = index.end()[DATA]
    for start in (0, 1, 7, end - 1, end):
        for stop in (start, start + 1, end - 1, end):
            if start <= stop <= end:
                batches = list(index.read(DATA, start, stop))
                assert [r for batch in batches for r in batch] == records[start:stop]
                assert all(batches)


def test_what_the_archive_does_not_hold_is_refused(world):
    index = world.index()
    with pytest.raises(BeyondArchive):
        list(index.read(DATA, 0, index.end()[DATA] + 1))
    with pytest.raises(BeyondArchive):
        list(index.read(Partition(EVENTS, 9), 0, 1))


def test_without_an_identity_records_stay_closed_but_the_rest_is_verified(world):
    index = open_archive(world.store, verifiers=[SIGNER.verifier])
    assert index.restorable == world.index().restorable
    with pytest.raises(Refused, match="is encrypted"):
        list(index.read(DATA, 0, 1))
    other, _ = new_identity()
    index = open_archive(world.store, Identity(other), verifiers=[SIGNER.verifier])
    with pytest.raises(Refused, match="identity"):
        list(index.read(DATA, 0, 1))


def test_an_archive_in_the_clear_needs_no_identity():
    world = World(recipients=())
    world.write(30)
    world.ship()
    index = open_archive(world.store, verifiers=[SIGNER.verifier])
    assert everything(index) == logged(world.log, world.log.end())
    assert not keys(world, ".age")


def test_reading_ahead_is_bounded(world, monkeypatch):
    monkeypatch.setattr(fetching, "PREFETCH_BYTES", 2_000)
    index = world.index()
    asked = []
    get = world.store.get
    world.store.get = lambda key, *rest: asked.append(key) or get(key, *rest)
    reader = index.read(DATA, 0, index.end()[DATA])
    next(reader)
    assert len(asked) < len(index.segments[DATA]) / 2
    reader.close()
    world.store.get = get
    assert everything(index) == logged(world.log, index.end())


# ---- times


def test_times_and_epochs_are_found_as_on_the_log(world):
    epoch = b"e" * 16
    world.control(rewind_value(1, epoch, None, Position()))
    world.write(30, epoch)
    world.ship()
    index = world.index()
    for partition in index.end():
        records = world.log.records[partition]
        end = index.end()[partition]
        for start in {0, 3, end // 2, *range(max(0, end - 12), end)}:
            for stop in (end // 2, end):
                for time in {0, *(r.time for r in records[::7]), 10**12}:
                    want = next((r.offset for r in records[start:stop] if r.time > time), None)
                    assert index.first_later(partition, start, stop, time) == want
                want = next((r.offset for r in records[start:stop] if epoch in (r.value or b"")), None)
                if partition != CONTROL_PARTITION:
                    assert index.first_naming(partition, start, stop, frozenset([epoch])) == want
                assert index.first_naming(partition, start, stop, frozenset([b"x" * 16])) is None


def test_times_are_found_in_at_most_one_segment(world):
    index = world.index()
    asked = []
    get = world.store.get
    world.store.get = lambda key, *rest: asked.append(key) or get(key, *rest)
    end = index.end()[DATA]
    time = world.log.records[DATA][end // 2].time
    assert index.first_later(DATA, 0, end, time) is not None
    assert len(asked) <= 1
    asked.clear()
    assert index.first_later(DATA, 0, end, 0) == 0
    assert index.first_later(DATA, 0, end, 10**12) is None
    assert index.first_naming(DATA, 0, end, frozenset([b"x" * 16])) is None
    assert asked == []


def test_a_moment_resolves_to_its_position(world):
    index = world.index()
    holdings = index.holdings()
    assert resolve(Target(), holdings.range, holdings.marks, index, 10**12).position == index.end()
    moment = world.log.records[DATA][10].time
    position = cut(moment, index.marks, index)
    for partition in (DATA, Partition(EVENTS, 1)):
        records = world.log.records[partition]
        assert position[partition] == sum(r.time <= moment for r in records[: index.end()[partition]])
    first, last = holdings.range.first, holdings.range.last
    assert first == min(records[0].time for records in world.log.records.values() if records)
    assert last == index.marks.last.time
    assert cut(last, index.marks, index) == index.end()


def test_rewinds_are_read_with_their_targets(world):
    target = Position({DATA: 4, CONTROL_PARTITION: 2})
    world.control(rewind_value(1, b"1" * 16, None, target))
    world.ship()
    (found,) = world.index().control
    assert (found[1].epoch, found[1].after, found[1].target) == (b"1" * 16, None, target)
