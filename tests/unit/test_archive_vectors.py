"""The test vectors of docs/archive-format.md, made by a program that shares no code with us, hold for our code."""

import json
from pathlib import Path

import pytest

from events.log import Record
from replicator import merkle
from replicator.archive import Archive
from replicator.checkpoints import signed_head
from replicator.config import parse_config
from replicator.manifest import advance, first_head, parse_manifest, resume
from replicator.memory_store import MemoryStore
from replicator.note import Signer, TreeHead, Verifier, head_text, open_note, parse_head, sign_note
from replicator.record_bytes import encode_records
from replicator.rotations import Changed, add_recipients, add_signer, parse_recipients
from replicator.segment import sync_marker
from replicator.trust import Keyring, carried, write_handover
from tests import archive_vectors

FILE = Path(__file__).parent.parent / "data" / "archive-vectors.json"


@pytest.fixture(scope="module")
def vectors():
    return json.loads(FILE.read_text("utf-8"))


def as_record(of):
    headers = tuple((name, None if value is None else bytes.fromhex(value)) for name, value in of["headers"])
    key, value = (None if of[name] is None else bytes.fromhex(of[name]) for name in ("key", "value"))
    return Record(of["offset"], of["time"], of["time_type"], key, headers, value)


def test_the_file_is_what_the_program_makes():
    assert FILE.read_text("utf-8") == archive_vectors.text()


def test_record_bytes(vectors):
    for vector in vectors["records"]:
        assert encode_records([as_record(vector["record"])])[0].hex() == vector["bytes"]


def test_a_segments_root_and_sync_marker(vectors):
    records = [as_record(v["record"]) for v in vectors["records"][:-1]]
    root = merkle.root([merkle.leaf_hash(r) for r in encode_records(records)])
    assert root.hex() == vectors["record_root"]
    assert sync_marker(root).hex() == vectors["sync_marker"]


def test_keys(vectors):
    signer = Signer("rekam/00112233445566778899aabbccddeeff", bytes.fromhex(vectors["signing_seed"]))
    assert str(signer.verifier) == vectors["verifier"]


def test_the_archive_as_a_reader_walks_it(vectors):
    config = parse_config(vectors["archive.json"].encode())
    assert config.to_bytes().decode() == vectors["archive.json"]
    keys = Keyring([Verifier.parse(vectors["verifier"])])
    head = first_head(vectors["archive.json"].encode(), config.verifier)
    for manifest, note in zip(vectors["manifests"], vectors["notes"], strict=True):
        signed = signed_head(note.encode(), head.n + 1, config.origin, keys)
        head = advance(head, manifest.encode(), note.encode(), signed)
        assert head == resume(manifest.encode(), note.encode(), signed, head.n, config.verifier)
    assert head.n == 2
    assert head.tree.size == len(vectors["leaves"])
    assert head.tree.root().hex() == vectors["roots"][-1]


def test_manifests_and_notes_as_a_writer_makes_them(vectors):
    signer = Signer.parse(Signer(f"rekam/{archive_vectors.CLINIC}", archive_vectors.SEED).secret_text())
    for manifest, note in zip(vectors["manifests"], vectors["notes"], strict=True):
        parsed = parse_manifest(manifest.encode(), "vector")
        assert parsed.to_bytes().decode() == manifest
        signed = parse_head(open_note(note.encode(), [signer.verifier]))
        assert sign_note(head_text(TreeHead(*signed)), [signer]).decode() == note


def test_the_tree(vectors):
    frontier = merkle.Frontier()
    assert frontier.root().hex() == vectors["roots"][0]
    for n, leaf in enumerate(vectors["leaves"], 1):
        frontier.append(merkle.leaf_hash(leaf.encode()))
        assert frontier.root().hex() == vectors["roots"][n]


def walked(vectors, keys):
    """The heads after each of the four checkpoints."""
    config = parse_config(vectors["archive.json"].encode())
    heads = [first_head(vectors["archive.json"].encode(), config.verifier)]
    told = [vectors, vectors["rotated"]]
    pairs = [pair for of in told for pair in zip(of["manifests"], of["notes"], strict=True)]
    for n, (manifest, note) in enumerate(pairs, 1):
        signed = signed_head(note.encode(), n, config.origin, keys)
        heads.append(advance(heads[-1], manifest.encode(), note.encode(), signed))
        assert heads[-1].manifest.to_bytes().decode() == manifest
    return heads[1:]


@pytest.mark.parametrize("sheet", ["old", "new"])
def test_keys_that_were_rotated_as_a_reader_follows_them(vectors, sheet):
    rotated = vectors["rotated"]
    old, new = Verifier.parse(vectors["verifier"]), Verifier.parse(rotated["verifier"])
    keys = carried(old if sheet == "old" else new, [rotated["statement"]])
    heads = walked(vectors, keys)
    assert [head.signer for head in heads] == [old, old, new, new]
    assert [head.manifest.signed_with(old) for head in heads] == [old, old, old, new]
    recipients = (archive_vectors.RECIPIENT,)
    assert [head.manifest.recipients for head in heads] == [None, None, recipients, recipients]
    assert heads[-1].tree.root().hex() == rotated["root"]
    keys.refuse_retired(heads[-1].note, "the newest")


def test_what_says_that_keys_were_rotated_as_a_writer_makes_it(vectors):
    rotated = vectors["rotated"]
    old, new = (
        Signer(f"rekam/{archive_vectors.CLINIC}", s)
        for s in (archive_vectors.SEED, archive_vectors.NEXT_SEED)
    )
    actor = {"id": "owner", "role": "operator", "system": "cli"}
    made = write_handover(old, new, time=1767225602000, actor=actor, reason="a rotation")
    assert made.note.decode() == rotated["statement"]
    store = MemoryStore()
    archive = Archive.create(
        store,
        old,
        clinic_id=archive_vectors.CLINIC,
        clinic_name="",
        archive_id=archive_vectors.ARCHIVE,
        recipients=[],
    )
    changed = Changed(1767225602000, actor, "a rotation", (archive_vectors.RECIPIENT,))
    entries = [add_recipients(archive, changed).raw, add_signer(archive, made).raw]
    assert entries == [e.raw for e in parse_manifest(rotated["manifests"][0].encode(), "vector").entries]
    assert store.get(entries[0]["key"]).decode() == rotated["recipients"]
    assert parse_recipients(rotated["recipients"].encode(), "vector") == changed
