"""Snapshots: rows come back as they were, in order, verified; any Avro reader reads them; memory is bounded."""

import io

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import ArchiveGap, BadInput, Corrupt, Refused
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import Link
from replicator import snapshot as snapshots
from replicator.encryption import unseal
from replicator.snapshot import TableImage, open_snapshot, write_snapshot
from tests.archives import IDENTITY, World
from tests.examples import examples

KINDS = {
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "id": st.binary(min_size=16, max_size=16),
    "instant": st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    "bytes": st.binary(),
}
POSITION = Position({Partition(EVENTS, 0): 7, CONTROL_PARTITION: 1})
LINKS = [Link(None, Position({Partition(EVENTS, 0): 3})), Link(b"e" * 16, POSITION)]
COLUMNS = [
    ("stream", "text"),
    ("event_id", "id"),
    ("epoch", "id"),
    ("amount", "decimal"),
    ("number", "integer"),
]


def rows_of(count):
    return [(f"patient-{n}", n.to_bytes(16, "big"), None, f"{n}.50", n) for n in range(count)]


def written(world, *tables):
    entry = write_snapshot(world.archive, POSITION, LINKS, tables, random=world.random)
    world.shipper().ship_once(entries=[entry])
    return entry


def read(snapshot, table):
    return list(snapshot.rows(table))


def test_a_snapshot_comes_back_as_it_was():
    world = World()
    rows = rows_of(100)
    entry = written(world, TableImage("patients", COLUMNS, iter(rows)), TableImage("empty", COLUMNS, []))
    index = world.index()
    found = open_snapshot(index, entry.id)
    assert (found.position, list(found.links)) == (POSITION, LINKS)
    assert [(t.name, list(t.columns), t.rows) for t in found.tables] == [
        ("patients", COLUMNS, 100),
        ("empty", COLUMNS, 0),
    ]
    assert read(found, "patients") == rows
    assert read(found, "empty") == []
    (point,) = index.holdings().snapshots
    assert (point.id, point.position, list(point.links), point.rows) == (entry.id, POSITION, LINKS, 100)
    assert point.size_bytes == sum(p.size_bytes for t in found.tables for p in t.parts)


@settings(max_examples=examples(60))
@given(st.data())
def test_rows_of_any_kinds_come_back(data):
    kinds = data.draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=9))
    columns = [(f"c{n}", kind) for n, kind in enumerate(kinds)]
    rows = data.draw(st.lists(st.tuples(*(st.none() | KINDS[kind] for kind in kinds)), max_size=20))
    world = World()
    entry = written(world, TableImage("t", columns, rows))
    found = open_snapshot(world.index(), entry.id)
    assert read(found, "t") == rows
    if rows:
        part = found.tables[0].parts[0]
        plain = unseal(world.store.get(part.key), part.key, IDENTITY)
        schema = fastavro.reader(io.BytesIO(plain)).writer_schema
        assert [field["name"] for field in schema["fields"]] == [name for name, _ in columns]


def test_any_avro_reader_reads_it():
    world = World(recipients=())
    entry = written(world, TableImage("patients", COLUMNS, rows_of(50)))
    (part,) = open_snapshot(world.index(), entry.id).tables[0].parts
    found = list(fastavro.reader(io.BytesIO(world.store.get(part.key))))
    assert [tuple(row.values()) for row in found] == rows_of(50)


def test_large_tables_are_several_parts_and_rows_are_taken_as_they_go(monkeypatch):
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(snapshots, "PART_BYTES", 4_000)
    world = World()
    stored_when = []

    def rows():
        for n, row in enumerate(rows_of(2_000)):
            if n % 100 == 0:
                stored_when.append(sum(k.startswith("snapshots/") for k in world.store._objects))
            yield row

    entry = written(world, TableImage("patients", COLUMNS, rows()))
    found = open_snapshot(world.index(), entry.id)
    parts = found.tables[0].parts
    assert len(parts) > 10
    assert stored_when[-1] > 0, "parts are stored while rows still come"
    assert read(found, "patients") == rows_of(2_000)
    some = [row for batch in found.read_parts(found.tables[0], parts[2:4]) for row in batch]
    skipped = sum(part.rows for part in parts[:2])
    assert some == rows_of(2_000)[skipped : skipped + len(some)]


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ([("a", "text")], (1,)),
        ([("a", "text")], ("a\0b",)),
        ([("a", "integer")], ("1",)),
        ([("a", "integer")], (2**63,)),
        ([("a", "id")], (b"short",)),
        ([("a", "boolean")], (1,)),
        ([("a", "instant")], (2**62,)),
        ([("a", "text"), ("b", "text")], ("one",)),
        ([("a", "text")], ("one", "two")),
        ([("A b", "text")], ("x",)),
        ([("a", "float")], (1.5,)),
    ],
)
def test_what_does_not_fit_is_refused_without_showing_it(columns, row):
    world = World()
    with pytest.raises(BadInput) as told:
        write_snapshot(world.archive, POSITION, LINKS, [TableImage("t", columns, [row])])
    assert "one" not in str(told.value).split()


def test_a_snapshot_that_no_checkpoint_names_does_not_count():
    world = World()
    entry = write_snapshot(world.archive, POSITION, LINKS, [TableImage("t", COLUMNS, rows_of(3))])
    world.ship()
    with pytest.raises(Refused):
        open_snapshot(world.index(), entry.id)
    assert world.index().snapshots == []


def test_damage_and_loss_are_named():
    world = World()
    entry = written(world, TableImage("t", COLUMNS, rows_of(30)))
    held = world.store._objects
    part = next(key for key in held if key.startswith("snapshots/") and "/t-" in key)
    for key, where in ((part, part), (entry.key, entry.key)):
        original = held[key]
        held[key] = (original[0][:-1] + b"?", 0)
        with pytest.raises(Corrupt, match=where):
            read(open_snapshot(world.index(), entry.id), "t")
        del held[key]
        with pytest.raises(ArchiveGap, match=where):
            read(open_snapshot(world.index(), entry.id), "t")
        held[key] = original
    assert read(open_snapshot(world.index(), entry.id), "t") == rows_of(30)


def test_no_such_table():
    world = World()
    entry = written(world, TableImage("t", COLUMNS, []))
    with pytest.raises(Refused):
        read(open_snapshot(world.index(), entry.id), "other")
