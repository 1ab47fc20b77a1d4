"""What an audit says where nothing was tampered with, or where it cannot tell."""

from __future__ import annotations

from functools import partial

import pytest

from events.errors import StoreUnavailable
from replicator.auditing.attesting import Outside
from replicator.auditing.findings import MAX_FINDINGS, Finding, Findings, What
from replicator.auditing.report import check_report, write_report
from replicator.auditing.verifying import Depth, Scope, verify
from replicator.directory_store import DirectoryStore
from replicator.encryption import Identity, new_identity
from replicator.memory_store import MemoryStore
from replicator.note import Signer
from replicator.outcome import Outcome
from tests.archives import CLINIC, IDENTITY, IDENTITY_TEXT, SIGNER, World
from tests.rotated import SECOND
from tests.tampering import assert_found, audit, copy_of, flipped, newest_note, put, world_with_everything

OTHER = Signer("rekam/" + "d" * 32, bytes(32))


@pytest.fixture(scope="module")
def world() -> World:
    return world_with_everything()


def test_nobody_attests_the_newest_checkpoint(world):
    found = audit(world.store, None)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "nobody outside the archive attests checkpoint" in found.reasons[0]


def test_an_older_note_attests_up_to_its_checkpoint(world):
    note = world.store.get("checkpoints/000000000005/note")
    found = audit(world.store, note)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.attested.checkpoint == 5
    assert "attested up to checkpoint 5" in found.reasons[0]


def test_a_witness_attests_as_well_as_a_kept_note(world):
    newest = newest_note(world.store)
    found = audit(world.store, None, cosigned=lambda note: "a witness" if note == newest else None)
    assert found.outcome is Outcome.OK
    assert found.attested.by == ["a witness"]


def test_without_a_key_from_the_sheet_nothing_is_ok(world):
    found = audit(world.store, newest_note(world.store), key=False)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "no verification key" in found.reasons[0]


def test_records_need_the_identity(world):
    note = newest_note(world.store)
    found = audit(world.store, note, Depth.RECORDS, identity=None)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "no identity" in found.reasons[0]
    other = audit(world.store, note, Depth.RECORDS, identity=Identity(new_identity()[0]))
    assert other.outcome is Outcome.INCONCLUSIVE


def test_an_empty_place_is_never_ok():
    assert audit(MemoryStore(), None).outcome is Outcome.INCONCLUSIVE
    assert "nothing was examined" in audit(MemoryStore(), None).reasons


def test_an_archive_that_was_emptied_shows_by_the_kept_note(world):
    assert_found(audit(MemoryStore(), newest_note(world.store)), "archive.json")


def test_a_store_that_does_not_answer_is_inconclusive():
    class Silent(MemoryStore):
        def list(self, prefix, after=""):
            raise StoreUnavailable("no answer")

    assert audit(Silent(), None).outcome is Outcome.INCONCLUSIVE


def test_a_store_that_stops_answering_half_way_is_inconclusive(world):
    class Tiring(MemoryStore):
        reads = 0

        def get(self, key, start=0, length=None):
            self.reads += 1
            if self.reads > 60:
                raise StoreUnavailable("no answer any more")
            return super().get(key, start, length)

    store = Tiring()
    store._objects = dict(world.store._objects)
    found = audit(store, newest_note(world.store))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "no answer any more" in found.reasons


def test_another_archive_of_the_same_clinic_in_its_place(world):
    other = World()
    other.write(30)
    other.ship()
    found = audit(other.store, newest_note(world.store), sheet=SECOND)
    assert found.outcome is Outcome.INVALID
    # The old sheet, and nothing there that leads from it to the key of the note that was kept: nobody can tell.
    assert audit(other.store, newest_note(world.store)).outcome is Outcome.INCONCLUSIVE


def test_a_note_of_another_clinics_key_attests_nothing(world):
    found = verify(
        lambda: (world.store, None),
        Scope(verifiers=[OTHER.verifier], outside=[Outside("note", newest_note(world.store))]),
    )
    assert found.outcome is Outcome.INVALID  # every note is signed by a key that is not trusted
    assert found.attested.by == []


def test_orphans_are_counted_and_harmless(world):
    store = copy_of(world.store)
    store.create("log/rekam.events/0/1970-01-01/stray", b"x")
    store.create("checkpoints/000000000099/" + "0" * 64 + ".manifest.json", b"{}")
    store.create("pins/one.json", b"a recovery reads")
    found = audit(store, newest_note(store))
    assert found.outcome is Outcome.OK
    assert found.counts.orphans == 2
    assert "log/rekam.events/0/1970-01-01/stray" in found.orphans


def test_a_note_behind_a_gap_is_no_orphan(world):
    store = copy_of(world.store)
    newest = newest_note(store)
    store.create("checkpoints/000000000099/note", newest)
    found = audit(store, newest)
    assert found.outcome is Outcome.INVALID
    assert any(f.where.startswith("checkpoints ") and f.what is What.MISSING for f in found.findings.kept)


def test_a_summary_that_misleads_is_found_though_its_digest_is_right(world, monkeypatch):
    """Whoever holds the clinic's key can sign one: readers would believe it."""
    forging = World()
    forging.write(12)
    forging.ship()
    import replicator.upkeep as keeping

    whole = keeping.Summary
    monkeypatch.setattr(
        keeping,
        "Summary",
        lambda n, note, manifest, entries: whole(n, note, manifest, dict([*entries.items()][1:])),
    )
    entries = keeping.join_due(forging.archive, forging.index())
    forging.shipper().ship_once(entries=entries)
    found = audit(forging.store, newest_note(forging.store))
    assert_found(found, entries[-1].key)
    assert [f.what for f in found.findings.kept] == [What.CONTRADICTORY]


def test_processes_find_what_threads_find(world, tmp_path):
    folder = DirectoryStore(tmp_path / "archive", create=True)
    for stored in world.store.list(""):
        folder.create(stored.key, world.store.get(stored.key))
    note = newest_note(folder)
    scope = Scope(Depth.RECORDS, [SIGNER.verifier], [Outside("kept", note)], workers=2)
    opener = partial(_open_folder, tmp_path / "archive", IDENTITY_TEXT)
    many, one = verify(opener, scope), audit(folder, note, Depth.RECORDS)
    assert many.to_json() | {"attested_by": []} == one.to_json() | {"attested_by": []}
    key = next(iter(folder.list("snapshots/"))).key
    put(folder, key, flipped(folder.get(key), 70))
    assert_found(verify(opener, scope), key)


def _open_folder(folder, identity):
    return DirectoryStore(folder), Identity(identity)


def test_findings_are_bounded_and_counted():
    findings = Findings()
    findings.extend(Finding(What.EDITED, str(n)) for n in range(MAX_FINDINGS + 5))
    assert (len(findings), len(findings.kept)) == (MAX_FINDINGS + 5, MAX_FINDINGS)


def test_a_signed_report_says_what_the_audit_said(world):
    found = audit(world.store, newest_note(world.store))
    report = write_report(found, 1, 2, SIGNER)
    checked = check_report(report, SIGNER.verifier, "report")
    assert (checked.outcome, checked.told["checkpoint"]) == (Outcome.OK, found.checkpoint)
    assert check_report(write_report(found, 1, 2, None), SIGNER.verifier, "r").outcome is Outcome.INCONCLUSIVE
    assert check_report(report, OTHER.verifier, "r").outcome is Outcome.INVALID
    assert CLINIC in report.decode()


def test_an_edited_report_is_invalid(world):
    report = write_report(audit(world.store, None), 1, 2, SIGNER)
    edited = report.replace(b'"outcome":"inconclusive"', b'"outcome":"ok"')
    assert edited != report
    assert check_report(edited, SIGNER.verifier, "r").outcome is Outcome.INVALID


def test_the_identity_is_not_asked_for_where_only_digests_are_compared(world):
    assert audit(world.store, newest_note(world.store), identity=None).outcome is Outcome.OK
    assert audit(world.store, newest_note(world.store), identity=IDENTITY).outcome is Outcome.OK
