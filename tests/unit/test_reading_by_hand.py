"""docs/reading-the-archive.md holds: its own code, run on an archive, reads records, events and rows."""

import hashlib
import re
from pathlib import Path

import fastavro
import pytest

from events import catalogue
from events.attachments import clear_blob, seal_blob
from events.codec import encode_event
from events.envelope import Event
from events.log import Entry
from events.patient_keys import Key
from events.position import EVENTS, Position
from replicator.directory_store import DirectoryStore
from replicator.merging import HOUR
from replicator.snapshot import TableImage, write_snapshot
from replicator.upkeep import upkeep
from tests.archives import World

PAGE = Path(__file__).parent.parent.parent / "docs" / "reading-the-archive.md"
EVENT = Event(
    b"e" * 16,
    None,
    "clinic-1",
    1,
    None,
    1_767_225_600_000_000,
    1_767_225_600_000_000,
    {"id": "s1", "role": "owner", "system": "test"},
    None,
    None,
    ("id.rekam.erasure.RestrictionLifted", {}),
)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An unencrypted archive in a folder, in which the page's code runs."""
    world = World(store=DirectoryStore(tmp_path, create=True), recipients=())
    value = encode_event(EVENT._replace(payload=_smallest_payload()))
    world.log.append(EVENTS, [Entry(b"clinic-1", value)])
    entry = write_snapshot(world.archive, Position(), [], [TableImage("t", [("a", "text")], [("x",)])])
    world.shipper().ship_once(entries=[entry])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _smallest_payload():
    """The event type with the fewest fields that have no default, filled in."""
    names = catalogue.definitions()
    fill = {"string": "x", "long": 0, "int": 0, "boolean": False}

    def needed(name):
        return [f for f in names[name]["fields"] if "default" not in f]

    simple = [n for n in catalogue.event_types() if all(str(f["type"]) in fill for f in needed(n))]
    name = min(simple, key=lambda n: len(needed(n)))
    return name, {f["name"]: fill[f["type"]] for f in needed(name)}


def page_code(part):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    (found,) = [block for block in blocks if part in block]
    return found


def test_the_pages_code_reads_an_event(archive):
    (segment,) = archive.glob("log/rekam.events/*/*/*.avro")
    (record,) = fastavro.reader(segment.open("rb"))
    space = {"fastavro": fastavro}
    exec(page_code("def event"), space)
    found = space["event"](record["value"])
    assert (found["stream"], found["version"]) == ("clinic-1", 1)


def test_the_pages_code_prints_records(archive, capsys):
    (segment,) = archive.glob("log/rekam.events/*/*/*.avro")
    (archive / "segment.avro").write_bytes(segment.read_bytes())
    exec(page_code("segment.avro"), {"fastavro": fastavro})
    assert "b'clinic-1'" in capsys.readouterr().out


def test_rows_are_read_like_records(archive):
    (part,) = archive.glob("snapshots/*/*.avro")
    assert list(fastavro.reader(part.open("rb"))) == [{"a": "x"}]


def test_the_pages_code_reads_joined_checkpoints(tmp_path, monkeypatch):
    world = World(store=DirectoryStore(tmp_path, create=True), recipients=())
    for _ in range(4):
        world.write(2)
        world.ship()
        world.clock.now += HOUR
    world.shipper().ship_once(entries=upkeep(world.log, world.archive, world.index()))
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(page_code("checkpoints/merged"), space)
    assert {entry["kind"] for entry in space["entries"].values()} == {"segment", "schema"}
    assert len(space["entries"]) > 8


@pytest.mark.parametrize("file", [b"", b"short", b"long enough to be packed " * 40])
def test_the_pages_code_opens_an_attached_file(file):
    space = {}
    exec(page_code("def attached_file"), space)
    opened, digest = space["attached_file"], hashlib.sha256(file).digest()
    key = Key("0f" * 16, bytes(range(32)))
    assert opened(seal_blob(file, "patient-1", key), b"patient-1", digest, key.secret) == file
    assert opened(clear_blob(file, "patient-1"), b"patient-1", digest) == file
