"""What only a broken or malicious writer with the clinic's own key can do wrong: it shows, too."""

import hashlib
from dataclasses import replace

import pytest

from events.errors import ArchiveDiverged, ArchiveGap, Corrupt, Refused
from events.position import EVENTS, Partition, Position
from replicator.archive import Archive, Named
from replicator.entries import SegmentEntry, parse_entry
from replicator.fetching import fetch
from replicator.holes import covering, current_segments, refuse_holes
from replicator.manifest import Gap, following, parse_manifest
from replicator.merkle import Frontier
from replicator.note import Signer
from replicator.snapshot import Part, TableImage, decode_part, open_snapshot, write_snapshot
from tests.archives import ARCHIVE, IDENTITY, World

DATA = Partition(EVENTS, 0)


def segment(first, stop, replaces=(), key=None):
    digest = "0" * 64
    raw = {
        "kind": "segment",
        "key": key or f"log/{DATA}/2026-01-01/{first:020d}-{stop}-{digest}.avro",
        "stored": digest,
        "plain": digest,
        "size": 1,
        "plain_size": 1,
        "partition": str(DATA),
        "first": first,
        "stop": stop,
        "records": digest,
        "last": digest,
        "time": {"first": 0, "last": 0, "min": 0, "max": 0},
        "epochs": [],
        "rewinds": [],
    }
    return parse_entry({**raw, "replaces": list(replaces)} if replaces else raw, "a test")


# ---- holes


@pytest.mark.parametrize(
    ("ranges", "stop", "missing"),
    [
        ([(0, 5), (6, 9)], 9, "5 to 5"),
        ([(0, 5), (5, 8)], 9, "8 to 8"),
        ([], 4, "0 to 3"),
        ([(0, 5), (4, 9)], 9, "overlap"),
        ([(0, 9)], 5, "overlap"),
    ],
)
def test_holes_are_named(ranges, stop, missing):
    held = current_segments(segment(*r) for r in ranges)
    with pytest.raises(ArchiveGap, match=f"{DATA}.*{missing}"):
        refuse_holes(held, Position({DATA: stop}))


def test_segments_that_join_in_any_order():
    held = current_segments([segment(5, 9), segment(0, 5)])
    refuse_holes(held, Position({DATA: 9}))
    assert [s.first for s in covering(held, DATA, 4, 6)] == [0, 5]
    assert [s.first for s in covering(held, DATA, 5, 6)] == [5]
    assert covering(held, DATA, 3, 3) == []


def test_known_gaps_are_let_pass_but_not_read():
    held = current_segments([segment(0, 5), segment(7, 9)])
    refuse_holes(held, Position({DATA: 9}), [Gap(DATA, 5, 7, "a test")])
    with pytest.raises(ArchiveGap):
        refuse_holes(held, Position({DATA: 9}), [Gap(DATA, 5, 6, "a test")])
    with pytest.raises(ArchiveGap, match="5 to 6"):
        covering(held, DATA, 0, 9)
    with pytest.raises(ArchiveGap, match="9 to 9"):
        covering(held, DATA, 8, 10)


def test_a_segment_takes_the_place_of_others():
    small = [segment(0, 5), segment(5, 9)]
    merged = segment(0, 9, [s.key for s in small], key="log/merged.avro")
    assert [s.key for s in current_segments([*small, merged])[DATA]] == [merged.key]


def test_a_signed_checkpoint_with_a_hole_does_not_open():
    world = World()
    world.write(20)
    world.ship()
    head = world.archive.head()
    further = head.position.replace({DATA: head.position[DATA] + 3})
    commit(world, position=further)
    with pytest.raises(ArchiveGap, match=f"{DATA}"):
        world.index()


# ---- checkpoints that do not follow


def commit(world, change=lambda manifest: manifest, **facts):
    head = world.archive.head()
    old = head.manifest
    manifest = following(
        head,
        ARCHIVE,
        10**12,
        **{
            "position": old.position,
            "generation": old.generation,
            "topics": old.topics,
            "tails": old.tails,
            "schemas": old.schemas,
            "gaps": old.gaps,
            "entries": (),
            "code": "a test",
            **facts,
        },
    )
    world.archive.commit(head, change(manifest))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"before": Frontier()}, ArchiveDiverged),
        ({"previous": hashlib.sha256(b"another note").digest()}, ArchiveDiverged),
        ({"archive": "b" * 32}, ArchiveDiverged),
        ({"time": 1}, Corrupt),
        ({"position": Position()}, ArchiveGap),
    ],
)
def test_a_signed_checkpoint_that_does_not_follow_does_not_open(changes, error):
    world = World()
    world.write(20)
    world.ship()
    commit(world, lambda manifest: replace(manifest, **changes))
    with pytest.raises(error):
        world.index()


def test_a_checkpoint_that_is_missing_whole_is_named():
    world = World()
    for _ in range(4):
        world.ship()
    for key in [
        k
        for k in world.store._objects
        if k.startswith(("checkpoints/000000000002/", "checkpoints/000000000003/"))
    ]:
        del world.store._objects[key]
    with pytest.raises(ArchiveGap, match="2 to 3"):
        world.index()


@pytest.mark.parametrize("field", ["entries", "position", "tree", "n", "time"])
def test_a_manifest_without_a_field_is_none(field):
    world = World()
    world.ship()
    data = world.archive.head().manifest.to_bytes().replace(f'"{field}"'.encode(), b'"zzz"')
    with pytest.raises(Corrupt):
        parse_manifest(data, "here")


def test_fields_of_a_newer_writer_are_kept_in_the_leaf():
    raw = {**segment(0, 5).raw, "newer": ["field"]}
    entry = parse_entry(raw, "here")
    assert isinstance(entry, SegmentEntry)
    assert b'"newer":["field"]' in entry.leaf()
    unknown = parse_entry({**raw, "kind": "hologram"}, "here")
    assert not isinstance(unknown, SegmentEntry)
    assert unknown.leaf() != entry.leaf()


@pytest.mark.parametrize(
    "change",
    [
        {"stored": "0"},
        {"stored": "G" * 64},
        {"stored": "A" * 64},
        {"size": -1},
        {"first": 5},
        {"key": "../x"},
        {"partition": "none"},
        {"epochs": [1]},
        {"time": None},
        {"size": True},
    ],
)
def test_entries_that_are_none(change):
    with pytest.raises(Corrupt, match="here"):
        parse_entry({**segment(0, 5).raw, **change}, "here")


# ---- objects


def test_what_decrypts_to_something_else_is_noticed():
    world = World()
    named = world.archive.store_sealed(lambda digest, suffix: f"x/{digest}{suffix}", b"what it is")
    assert fetch(world.store, named, IDENTITY) == b"what it is"
    with pytest.raises(Corrupt, match="x/"):
        fetch(world.store, named._replace(plain=hashlib.sha256(b"else").digest()), IDENTITY)


def test_what_should_be_encrypted_and_is_not_is_noticed():
    world = World(recipients=())
    stored = hashlib.sha256(b"open").digest()
    world.store.create("x/open", b"open")
    with pytest.raises(Corrupt):
        fetch(world.store, Named("x/open", stored, hashlib.sha256(b"else").digest(), 4), None)


def test_a_part_with_other_rows_than_its_manifest_says_is_noticed():
    world = World(recipients=())
    columns = (("a", "text"),)
    entry = write_snapshot(world.archive, Position(), [], [TableImage("t", columns, [("x",), ("y",)])])
    world.shipper().ship_once(entries=[entry])
    (part,) = open_snapshot(world.index(), entry.id).tables[0].parts
    plain = world.store.get(part.key)
    assert list(decode_part(part, plain, columns)) == [[("x",), ("y",)]]
    for wrong in (part._replace(rows=3), part._replace(rows=1)):
        with pytest.raises(Corrupt, match="rows"):
            list(decode_part(wrong, plain, columns))
    with pytest.raises(Corrupt, match="columns"):
        list(decode_part(part, plain, (("b", "text"),)))
    assert isinstance(part, Part)


def test_another_clinics_key_does_not_write_here():
    world = World()
    with pytest.raises(Refused, match="another clinic"):
        Archive.open(world.store, Signer("rekam/other", b"o" * 32))
