"""Recipients and signing keys that change while an archive is written, as writers, readers and auditors see it."""

import json
from dataclasses import replace

import pytest

from events.errors import ArchiveDiverged, Corrupt, LostData, Refused
from replicator.archive import Archive, SigningKeyRetired, open_archive
from replicator.auditing.consistency import Leaves, check_consistency, prove
from replicator.auditing.report import check_report, write_report
from replicator.auditing.verifying import Depth, Scope, verify
from replicator.canonical import canonical
from replicator.checkpoints import checkpoints_after, fitting_manifest
from replicator.encryption import Identity
from replicator.entries import SegmentEntry, SignerEntry
from replicator.manifest import following, note_key, parse_manifest, wrong_keys
from replicator.merging import HOUR
from replicator.note import Signer, split_note
from replicator.outcome import Outcome
from replicator.rotations import RECIPIENTS, add_signer, read_rotations, signer_key
from replicator.shipper import Shipper
from replicator.trust import SIGNERS
from replicator.upkeep import upkeep
from tests.archives import IDENTITY, IDENTITY_TEXT, RECIPIENT, SIGNER, World, everything, logged
from tests.rotated import (
    NEW_IDENTITY,
    NEW_RECIPIENT,
    SECOND,
    THIRD,
    change_recipients,
    handover,
    rotate,
    rotated_world,
)
from tests.tampering import copy_of, newest_note, put

BOTH = Identity(f"{NEW_IDENTITY}\n{IDENTITY_TEXT}")


def audited(store, *sheet, identity=BOTH, depth=Depth.RECORDS, note=None):
    outside = [] if note is None else note
    return verify(lambda: (store, identity), Scope(depth, [s.verifier for s in sheet], outside))


def whole(store, signer, identity=BOTH):
    return open_archive(store, identity, verifiers=[signer.verifier], whole=True)


# -- recipients


def test_what_is_shipped_behind_the_change_is_opened_by_the_new_identity_and_what_came_before_by_the_old_one():
    world = World()
    world.write()
    world.ship()
    n = change_recipients(world, [NEW_RECIPIENT])
    world.write()
    world.ship()
    index = open_archive(world.store, BOTH, verifiers=[SIGNER.verifier])
    assert everything(index) == logged(world.log, index.end())
    assert index.recipients == (NEW_RECIPIENT,)
    assert index.config.recipients == (RECIPIENT,)
    for held in index.segments.values():
        for entry in held:
            _opens_alone(world, entry, shipped_before=entry.key not in _named_behind(index, n))


def _named_behind(index, n):
    fresh = set()
    for number in range(n + 1, index.head.n + 1):
        fresh |= {e.key for e in _manifest(index, number).entries}
    return fresh


def _manifest(index, number):
    (read,) = (r for r in checkpoints_after(index.store, 0, index.config.origin, index.keys) if r.n == number)
    return parse_manifest(fitting_manifest(read), "it")


def _opens_alone(world, entry: SegmentEntry, *, shipped_before):
    new, data = Identity(NEW_IDENTITY), world.store.get(entry.key)
    (IDENTITY if shipped_before else new).open(data, entry.key)
    with pytest.raises(Refused):
        (new if shipped_before else IDENTITY).open(data, entry.key)


def test_a_shipper_that_is_running_follows_the_change():
    world = World()
    running = world.shipper()
    world.write()
    running.ship_once()
    change_recipients(world, [NEW_RECIPIENT])
    world.write()
    running.ship_once()
    newest = max((e for e in world.index().segments.values()), key=lambda held: held[-1].stop)[-1]
    Identity(NEW_IDENTITY).open(world.store.get(newest.key), newest.key)


def test_merged_segments_go_to_the_new_recipients():
    world = World()
    for _ in range(3):
        world.write()
        world.ship()
    change_recipients(world, [NEW_RECIPIENT])
    world.clock.now += HOUR
    world.ship()
    entries = upkeep(world.log, world.archive, whole(world.store, SIGNER))
    merged = [e for e in entries if isinstance(e, SegmentEntry)]
    assert merged
    for entry in merged:
        Identity(NEW_IDENTITY).open(world.store.get(entry.key), entry.key)


def test_a_manifest_that_names_other_recipients_than_the_entries_do_is_refused():
    world = World()
    head = world.archive.head()
    world.write()
    world.ship()
    world.archive._recipients = None
    honest = world.archive.head()
    forged = replace(honest.manifest, recipients=(NEW_RECIPIENT,))
    assert "recipients" in wrong_keys(head, forged, [SIGNER.verifier])


# -- the signing key


@pytest.mark.parametrize("sheet", [SIGNER, SECOND])
@pytest.mark.parametrize("whole_", [True, False])
def test_an_archive_opens_with_the_old_sheet_and_with_the_new_one(sheet, whole_):
    world, _ = rotated_world()
    index = open_archive(world.store, IDENTITY, verifiers=[sheet.verifier], whole=whole_)
    assert everything(index) == logged(world.log, index.end())
    assert index.head.signer == SECOND.verifier
    found = audited(world.store, sheet)
    assert not found.findings.kept


def test_the_sheet_of_any_time_will_do_after_several_rotations_joined_and_summarised():
    world, _ = rotated_world()
    world.clock.now += HOUR
    world.ship()
    entries = upkeep(world.log, world.archive, whole(world.store, SIGNER))
    world.clock.now += 1
    world.shipper().ship_once(entries)
    rotate(world, SECOND, THIRD)
    world.write()
    world.ship()
    for sheet in (SIGNER, SECOND, THIRD):
        index = open_archive(world.store, IDENTITY, newest_note(world.store), [sheet.verifier])
        assert len(index.named_since) < len(index.entries) + 5  # from the summary on
        assert index.head.signer == THIRD.verifier
        assert [r.verifier for r in read_rotations(index)] == [SECOND.verifier, THIRD.verifier]
        assert not audited(world.store, sheet).findings.kept


def test_a_reader_that_is_running_follows_a_rotation():
    world = World()
    world.write()
    world.ship()
    index = world.index()
    rotate(world)
    world.write()
    world.ship()
    index.refresh()
    assert index.head.signer == SECOND.verifier


def test_the_last_checkpoint_of_a_key_is_signed_with_it_and_the_next_with_the_other():
    world, n = rotated_world()
    for number, signer in ((n, SIGNER), (n + 1, SECOND)):
        assert signer.verifier.id in _ids(world.store.get(note_key(number)))


def _ids(note):
    return [signature.key_id for signature in split_note(note)[1]]


def test_a_shipper_with_a_retired_key_stops_and_changes_nothing():
    world = World()
    world.write()
    world.ship()
    asleep = Shipper(world.log, world.archive, clock=world.clock)
    assert asleep.head.n == 1
    n = rotate(world)
    for _ in range(2):  # right behind the last checkpoint of its key, and later
        with pytest.raises(SigningKeyRetired, match="rotated"):
            asleep.ship_once()
        assert world.archive.head().n in (n, n + 1)
        world.ship()
    with pytest.raises(SigningKeyRetired):
        Archive.open(world.store, SIGNER).recipients  # noqa: B018


def test_a_shipper_that_has_the_next_key_in_hand_goes_on_with_it():
    world = World()
    archive = Archive.open(world.store, SIGNER, lambda: [SECOND])
    running = Shipper(world.log, archive, clock=world.clock)
    running.ship_once()
    rotate(world)
    world.clock.now += 1
    assert running.ship_once().checkpoint == 3
    assert SECOND.verifier.id in _ids(newest_note(world.store))


def test_of_two_rotations_at_once_the_second_is_refused():
    world = World()
    world.ship()
    both = [SIGNER, SECOND]
    archive = Archive.open(world.store, SIGNER, lambda: both)
    late = add_signer(archive, handover(SIGNER, THIRD))
    rotate(world)
    world.clock.now += 1
    with pytest.raises(Refused, match="somebody else"):
        Shipper(world.log, archive, clock=world.clock).ship_once([late])


# -- tampering


def test_a_note_signed_with_a_retired_key_is_refused_and_named():
    """Whoever stole the old key goes on from its last checkpoint, or behind the newest."""
    world, n = rotated_world()
    for last in (n, world.archive.head().n):
        store = copy_of(world.store)
        _forget_behind(store, last)
        thief = World(store=store, log=world.log, clock=world.clock)
        thief.archive = Archive.open(store, SECOND)
        thief.archive.signer_for = lambda head: SIGNER  # type: ignore[method-assign]
        thief.write()
        thief.ship()
        for sheet in (SIGNER, SECOND):
            with pytest.raises(LostData):
                whole(store, sheet)
            found = audited(store, sheet)
            assert found.outcome is Outcome.INVALID
            assert f"retired at checkpoint {n}" in str(found.findings.kept)


def _forget_behind(store, n):
    for stored in list(store.list("checkpoints/0")):
        if int(stored.key.split("/")[1]) > n:
            store.remove(stored.key)


def test_a_history_that_a_retired_key_rewrote_without_its_end_is_refused_by_the_new_sheet():
    world, n = rotated_world()
    store = copy_of(world.store)
    _forget_behind(store, n - 1)
    thief = World(store=store, log=world.log, clock=world.clock)
    thief.write()
    thief.ship()
    thief.ship()
    with pytest.raises(ArchiveDiverged, match="retired"):
        whole(store, SECOND)
    found = audited(store, SECOND)
    assert "retired before the one given" in str(found.findings.kept)
    # Nobody who has the old sheet alone can tell: that is what notes kept elsewhere are for.
    assert not audited(store, SIGNER).findings.kept
    with pytest.raises(ArchiveDiverged, match=r"rewritten|rolled back"):
        open_archive(store, IDENTITY, newest_note(world.store), [SIGNER.verifier])


def test_an_entry_for_a_key_that_the_key_in_force_does_not_name_is_refused():
    world = World()
    world.write()
    world.ship()
    forger = Signer(SIGNER.verifier.name, b"f" * 32)
    forged = Signer(SIGNER.verifier.name, b"g" * 32)
    world.archive.signer_for = lambda head: forger  # type: ignore[method-assign]
    entry = add_signer(world.archive, handover(forger, forged))
    head = world.archive._newest(None)
    with pytest.raises(Refused):
        following(head, "a", 1, entries=[entry])
    world.shipper().ship_once()  # signed by an unknown key
    with pytest.raises(Corrupt, match="no key that is trusted"):
        whole(world.store, SIGNER)


@pytest.mark.parametrize("prefix", [SIGNERS, RECIPIENTS])
@pytest.mark.parametrize("what", ["dropped", "edited", "swapped"])
@pytest.mark.parametrize("sheet", [SIGNER, SECOND])
def test_whatever_is_done_to_what_says_that_keys_changed_is_named(prefix, what, sheet):
    world, _ = rotated_world()
    change_recipients(world, [NEW_RECIPIENT])
    change_recipients(world, [NEW_RECIPIENT, RECIPIENT])
    (key, *more) = [s.key for s in world.store.list(prefix)]
    other = more[0] if more else next(s.key for s in world.store.list(RECIPIENTS))
    if what == "dropped":
        world.store.remove(key)
    else:
        data = world.store.get(other) if what == "swapped" else world.store.get(key)[:-9] + b"A" * 9
        put(world.store, key, data)
    found = audited(world.store, sheet)
    assert found.outcome is Outcome.INVALID
    assert key in "\n".join(map(str, found.findings.kept))


@pytest.mark.parametrize("sheet", [SIGNER, SECOND])
def test_where_a_statement_was_lost_the_archive_is_read_still_and_that_alone_is_named(sheet):
    world, _ = rotated_world()
    (statement,) = world.store.list(SIGNERS)
    world.store.remove(statement.key)
    if sheet is SECOND:  # the newest note's tree covers whatever the first key signed
        index = whole(world.store, sheet)
        assert everything(index) == logged(world.log, index.end())
    assert [f.where for f in audited(world.store, sheet).findings.kept] == [statement.key]


def test_an_entry_that_says_more_than_its_statement_is_named():
    world = World()
    world.write()
    world.ship()
    told = handover(SIGNER, SECOND)
    entry = world.archive.add_plain(
        "signer",
        lambda digest, _: signer_key(digest),
        told.note,
        SignerEntry,
        previous=str(SIGNER.verifier),
        verifier=str(THIRD.verifier),
    )
    world.clock.now += 1
    world.shipper().ship_once([entry])
    found = audited(world.store, SIGNER)
    assert f"{entry.key}: contradictory" in "\n".join(map(str, found.findings.kept))


# -- what is checked offline


@pytest.mark.parametrize("sheet", [SIGNER, SECOND])
def test_proofs_and_reports_hold_across_a_rotation_with_either_sheet(sheet):
    world, n = rotated_world()
    leaves = Leaves(world.store, [sheet.verifier])
    proof = prove(leaves, leaves.note(1), leaves.note(n + 1))
    for anchor in (SIGNER, SECOND):
        assert check_consistency(proof, anchor.verifier, "it").outcome is Outcome.OK
    report = write_report(audited(world.store, sheet), 1, 2, SECOND)
    for anchor in (SIGNER, SECOND):
        assert "no key" not in str(check_report(report, anchor.verifier, "it").reasons)
        assert check_report(report, anchor.verifier, "it").outcome is not Outcome.INVALID


def test_a_proof_up_to_a_checkpoint_of_a_retired_key_needs_the_sheet_of_its_time():
    world, n = rotated_world()
    leaves = Leaves(world.store, [SIGNER.verifier])
    proof = prove(leaves, leaves.note(1), leaves.note(n))
    assert check_consistency(proof, SIGNER.verifier, "it").outcome is Outcome.OK
    found = check_consistency(proof, SECOND.verifier, "it")
    assert found.outcome is Outcome.INVALID
    assert "retired" in found.reasons[0]


def test_a_proof_without_its_statements_is_of_an_unknown_key():
    world, n = rotated_world()
    leaves = Leaves(world.store, [SIGNER.verifier])
    proof = prove(leaves, leaves.note(1), leaves.note(n + 1))
    told = json.loads(proof)
    del told["signers"]
    found = check_consistency(canonical(told) + b"\n", SIGNER.verifier, "it")
    assert found.outcome is Outcome.INVALID
