"""Blobs in the archive: shipped once with the records that name them, found again, and never in silence missing."""

from __future__ import annotations

import hashlib

import pytest

from events.attachments import seal_blob
from events.blobs import HEADER, MemoryBlobs, headers_of
from events.codec import encode_event
from events.envelope import Event
from events.errors import ArchiveGap, Corrupt
from events.log import Entry
from events.patient_keys import MemoryKeys
from events.payloads.care import DocumentAttached
from events.position import EVENTS
from replicator.archive_index import ArchiveIndex
from replicator.auditing.findings import What
from replicator.auditing.verifying import Depth, Scope, verify
from replicator.blobs import BlobShipping, blob_key, not_held
from replicator.copying import compare_archives, copy_archive
from replicator.entries import BlobEntry
from replicator.examining import Found, examine_decode, subject_of
from replicator.fetching import fetch
from replicator.memory_store import MemoryStore
from replicator.merging import merge_segments
from replicator.pruning import needed, plan_pruning
from tests.archives import IDENTITY, SIGNER, World, event_value
from tests.systems import Died, DyingStore


class Clinic(World):
    """A world whose records name blobs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blobs = MemoryBlobs()

    def name(self, *digests: bytes, key: bytes = b"patient-1") -> None:
        self.appended += 1
        headers = tuple((HEADER, digest.hex().encode()) for digest in digests)
        self.log.append(EVENTS, [Entry(key, event_value(self.appended), headers)])

    def attach(self, data: bytes) -> bytes:
        digest = self.blobs.put(data)
        self.name(digest)
        return digest

    def ship(self, **settings):
        return super().ship(blobs=self.blobs, **settings)


def _objects(clinic: World) -> list[str]:
    return [stored.key for stored in clinic.store.list("blobs/")]


def _content(index: ArchiveIndex, digest: bytes) -> bytes:
    return fetch(index.store, index.blobs[digest], IDENTITY)


def test_a_checkpoint_that_covers_a_record_names_its_blob() -> None:
    clinic = Clinic()
    clinic.write(5)
    scan, letter = clinic.attach(b"scan" * 100), clinic.attach(b"letter")
    shipped = clinic.ship()
    index = clinic.index()
    assert shipped.missing_blobs == 0 and set(index.blobs) == {scan, letter}
    assert _content(index, scan) == b"scan" * 100 and list(not_held(index)) == []
    entry = index.blobs[scan]
    assert entry.key == blob_key(scan.hex(), entry.stored.hex(), ".age")
    assert entry.key.startswith(f"blobs/{scan.hex()[:2]}/{scan.hex()}-")
    assert b"scan" not in clinic.store.get(entry.key)


def test_without_recipients_a_blob_is_stored_as_it_is() -> None:
    clinic = Clinic(recipients=())
    digest = clinic.attach(b"scan")
    clinic.ship()
    (key,) = _objects(clinic)
    assert (
        key == f"blobs/{digest.hex()[:2]}/{digest.hex()}-{digest.hex()}" and clinic.store.get(key) == b"scan"
    )


def test_each_blob_is_stored_and_named_once() -> None:
    clinic = Clinic()
    digest = clinic.attach(b"scan")
    clinic.name(digest, key=b"patient-1")
    clinic.ship()
    clinic.name(digest)
    clinic.ship()
    clinic.write(3)
    clinic.ship()
    assert len(_objects(clinic)) == 1
    index = clinic.index(whole=True)
    assert sum(isinstance(entry, BlobEntry) for entry in index.entries) == 1
    assert all(
        digest in segment.blobs or not segment.blobs for segment in index.segments[next(iter(index.segments))]
    )


def test_a_record_may_name_several_and_what_is_no_digest_names_none() -> None:
    clinic = Clinic()
    digests = {clinic.blobs.put(b"front"), clinic.blobs.put(b"back")}
    clinic.name(*digests)
    for foreign in (b"", b"x" * 64, b"AB" * 32, b"ab" * 31):
        clinic.log.append(EVENTS, [Entry(b"patient-1", b"foreign", ((HEADER, foreign),))])
    clinic.ship()
    assert set(clinic.index().blobs) == digests and not list(not_held(clinic.index()))


def test_what_a_dead_shipper_stored_is_named_and_not_stored_again() -> None:
    for steps in range(12):
        clinic = Clinic()
        digest = clinic.attach(b"scan")
        dying = DyingStore(clinic.store)
        clinic.archive.store = dying  # type: ignore[assignment]
        dying.die_after(steps)
        try:
            clinic.ship()
        except Died:
            pass
        dying.live()
        clinic.ship()
        index = clinic.index()
        assert _content(index, digest) == b"scan", steps
        assert len(_objects(clinic)) == 1, steps


def test_a_missing_blob_stops_nothing_is_told_and_heals() -> None:
    clinic = Clinic()
    lost, there = hashlib.sha256(b"lost").digest(), clinic.attach(b"there")
    clinic.name(lost)
    clinic.write(3)
    shipped = clinic.ship()
    index = clinic.index()
    assert shipped.missing_blobs == 1 and list(not_held(index)) == [lost] and set(index.blobs) == {there}
    assert clinic.log.end()[next(iter(index.end()))] == index.end()[next(iter(index.end()))]

    still = BlobShipping(clinic.archive, clinic.blobs, index)
    assert still.entries(list(not_held(index))) == [] and still.missing == [lost]
    clinic.blobs.put(b"lost")
    healed = BlobShipping(clinic.archive, clinic.blobs, index).entries(list(not_held(index)))
    clinic.clock.now += 1
    clinic.shipper(blobs=clinic.blobs).ship_once(healed)
    assert list(not_held(clinic.index())) == [] and _content(clinic.index(), lost) == b"lost"


def test_a_blob_that_is_damaged_here_is_not_shipped() -> None:
    clinic = Clinic()
    digest = clinic.attach(b"scan")
    clinic.blobs.held[digest] = b"scam"
    assert clinic.ship().missing_blobs == 1
    assert not _objects(clinic) and list(not_held(clinic.index())) == [digest]


def test_a_shipper_that_was_given_no_blobs_tells_that_they_are_missing() -> None:
    clinic = Clinic()
    digest = clinic.attach(b"scan")
    assert World.ship(clinic).missing_blobs == 1
    assert list(not_held(clinic.index())) == [digest]


def test_the_same_entry_twice_in_one_checkpoint_is_once() -> None:
    clinic = Clinic()
    lost = hashlib.sha256(b"lost").digest()
    clinic.name(lost)
    clinic.ship()
    clinic.blobs.put(b"lost")
    healed = BlobShipping(clinic.archive, clinic.blobs, clinic.index()).entries([lost])
    clinic.name(lost)  # the next records name it too
    clinic.clock.now += 1
    clinic.shipper(blobs=clinic.blobs).ship_once(healed)
    assert [e.key for e in clinic.index().manifest.entries].count(healed[0].key) == 1


def test_merged_segments_name_the_blobs_of_all() -> None:
    clinic = Clinic()
    digests = []
    for n in range(3):
        digests.append(clinic.attach(b"scan %d" % n))
        clinic.ship()
    index = clinic.index()
    segments = next(s for s in index.segments.values() if any(one.blobs for one in s))
    merged = merge_segments(clinic.log, clinic.archive, segments)
    assert merged.blobs == tuple(sorted(digests))
    clinic.clock.now += 1
    clinic.shipper(blobs=clinic.blobs).ship_once([merged])
    assert set(clinic.index().blobs) == set(digests) and not list(not_held(clinic.index()))
    assert _audit(clinic, Depth.RECORDS).findings.kept == []


def test_pruning_keeps_every_blob_that_records_name_and_takes_orphans() -> None:
    clinic = Clinic()
    clinic.attach(b"scan")
    clinic.ship()
    orphan = clinic.archive.add_sealed("blob", lambda d, s: blob_key("0" * 64, d, s), b"orphan", BlobEntry)
    plan = plan_pruning(clinic.store.list(""), needed(clinic.index()), 10**15)
    assert [doomed.key for doomed in plan.remove] == [orphan.key]


def test_a_copy_has_them_too() -> None:
    clinic, other = Clinic(), MemoryStore()
    clinic.attach(b"scan")
    clinic.ship()
    copy_archive(clinic.store, other)
    assert compare_archives(clinic.store, other).alike


def _audit(clinic: World, depth: Depth = Depth.OBJECTS):
    return verify(lambda: (clinic.store, IDENTITY), Scope(depth, (SIGNER.verifier,), workers=1))


@pytest.mark.parametrize("what", [What.EDITED, What.MISSING, What.TRUNCATED, What.SWAPPED])
def test_tampering_with_a_blob_is_named(what: What) -> None:
    clinic = Clinic()
    digest = clinic.attach(b"scan")
    clinic.attach(b"letter")
    clinic.ship()
    assert _audit(clinic).findings.kept == []
    index = clinic.index()
    key, other = index.blobs[digest].key, next(k for k in _objects(clinic) if digest.hex() not in k)
    held = clinic.store.get(key)
    clinic.store.remove(key)
    if what is not What.MISSING:
        put = {
            What.EDITED: held[:-1] + b"\0",
            What.TRUNCATED: held[:-1],
            What.SWAPPED: clinic.store.get(other),
        }
        clinic.store.create(key, put[what])
    found = _audit(clinic).findings.kept
    assert [(finding.what, finding.where) for finding in found] == [(what, key)]
    with pytest.raises((Corrupt, ArchiveGap)):
        _content(index, digest)


def test_a_blob_that_holds_another_file_than_its_event_says_is_found_by_decoding() -> None:
    """Everything about it fits, signatures too: only opening it shows that somebody put another file there."""
    keys = MemoryKeys()
    (key,) = keys.make(["patient-1"]).values()
    for content, wrong in ((b"as recorded", 0), (b"another file", 1)):
        clinic = Clinic()
        said = hashlib.sha256(b"as recorded").digest()
        digest = clinic.blobs.put(seal_blob(content, "patient-1", key))
        payload = DocumentAttached(
            **{"record_id": "d", "status": "current", "media_type": "text/plain", "size_bytes": 11},
            content_sha256=said,
            blob_sha256=digest,
        ).to_payload()
        actor = {"id": "a", "role": "nurse", "system": "test"}
        event = Event(b"e" * 16, None, "patient-1", 1, None, 0, 0, actor, None, None, payload)
        clinic.log.append(EVENTS, [Entry(b"patient-1", encode_event(event), headers_of(payload))])
        clinic.ship()
        found = Found()
        examine_decode(subject_of(clinic.index(), None, found), found, lambda: None, keys)
        assert len(found.wrong) == wrong, found.wrong
        assert found.counts["attachments_opened"] == 1 - wrong
        without = Found()
        examine_decode(subject_of(clinic.index(), None, without), without, lambda: None)
        assert not without.wrong and without.counts["attachments_closed"] == 1
