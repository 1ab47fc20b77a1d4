"""Law 7: editing, dropping, reordering, swapping or truncating any archived byte is detected, and named, from the
archive and the newest checkpoint that the auditor has seen elsewhere."""

from __future__ import annotations

from functools import lru_cache, partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.position import EVENTS, Partition
from replicator.archive import Archive
from replicator.auditing.findings import What
from replicator.auditing.verifying import Depth
from replicator.entries import SegmentEntry
from replicator.manifest import checkpoint_number
from replicator.merging import merge_segments
from replicator.note import Signer
from replicator.outcome import Outcome
from replicator.pruning import is_needed, needed
from replicator.segment import SegmentBuilder, segment_key
from tests.archives import SIGNER, World
from tests.examples import examples
from tests.rotated import SECOND
from tests.tampering import (
    CHANGES,
    assert_found,
    audit,
    copy_of,
    flipped,
    names,
    newest_note,
    prune_all,
    put,
    sampled,
    world_with_everything,
)


@lru_cache
def world(pruned: bool) -> World:
    return world_with_everything(pruned=pruned)


def attacked(pruned: bool):
    """(a copy of the archive, the note that was kept of it)"""
    clean = world(pruned).store
    return copy_of(clean), newest_note(clean)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("depth", list(Depth))
def test_an_untouched_archive_is_ok(pruned, depth):
    store, note = attacked(pruned)
    found = audit(store, note, depth)
    assert found.outcome is Outcome.OK, (found.findings.kept, found.reasons)
    assert found.counts.objects == len(list(store.list("")))
    assert found.counts.orphans == 0
    if depth is Depth.RECORDS:
        assert found.counts.records >= 4 * 3 * 15
        assert found.counts.rows == 50


@settings(max_examples=examples(200))
@given(
    pruned=st.booleans(),
    number=st.integers(min_value=0),
    at=st.integers(min_value=0),
    how=st.sampled_from(["flip", "cut", "remove", "exchange"]),
    other=st.integers(min_value=0),
    sheet=st.sampled_from([SIGNER, SECOND]),
)
@example(pruned=True, number=1, at=0, how="exchange", other=3_055_330_404, sheet=SIGNER)
def test_law_7_tampering_shows(pruned, number, at, how, other, sheet):
    store, note = attacked(pruned)
    keys = [s.key for s in store.list("")]
    key, second = keys[number % len(keys)], keys[other % len(keys)]
    data = store.get(key)
    if how == "flip":
        put(store, key, flipped(data, at))
        assert_found(audit(store, note, sheet=sheet), key)
    elif how == "cut":
        put(store, key, data[: at % len(data)])
        assert_found(audit(store, note, sheet=sheet), key)
    elif how == "remove":
        store.remove(key)
        if is_needed(key, needed(world(pruned).index())):
            assert_removal_shows(store, note, key, sheet)
        else:
            assert audit(store, note, sheet=sheet).outcome is Outcome.OK
    elif data != store.get(second):
        put(store, key, store.get(second))
        put(store, second, data)
        assert_exchange_shows(store, note, key, second, sheet)


def assert_exchange_shows(store, note: bytes, key: str, second: str, sheet: Signer = SIGNER) -> None:
    """Both are named, unless one of them was the only place that named the other."""
    found = audit(store, note, sheet=sheet)
    if not any(k.startswith("checkpoints/") for k in (key, second)):
        assert_found(found, key, second)
        return
    assert found.outcome is Outcome.INVALID
    told = "\n".join(map(str, found.findings.kept))
    assert names(told, key) or names(told, second)


def assert_removal_shows(store, note: bytes, key: str, sheet: Signer = SIGNER) -> None:
    """A checkpoint's own objects may be told by its number; the newest one's absence makes an older archive."""
    found = audit(store, note, sheet=sheet)
    assert found.outcome is Outcome.INVALID
    told = "\n".join(map(str, found.findings.kept))
    place = checkpoint_number(key)
    assert names(told, key) or (place and str(place[0]) in told) or "rolled back" in told


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("pruned", [False, True])
def test_every_kind_of_object_at_every_range(pruned, change):
    clean, note = attacked(pruned)
    for key in sampled(clean):
        store = copy_of(clean)
        put(store, key, CHANGES[change](store.get(key)))
        assert_found(audit(store, note), key)


def test_swapped_objects_are_told_by_whose_bytes_they_hold():
    store, note = attacked(pruned=False)
    one, two = [s.key for s in store.list("log/rekam.events/0/")][:2]
    first, second = store.get(one), store.get(two)
    put(store, one, second)
    put(store, two, first)
    found = audit(store, note)
    assert {(f.what, f.where) for f in found.findings.kept} == {(What.SWAPPED, one), (What.SWAPPED, two)}


def test_notes_in_another_order_are_told_as_that():
    store, note = attacked(pruned=True)
    one, two = [s.key for s in store.list("checkpoints/0") if s.key.endswith("note")][:2]
    first, second = store.get(one), store.get(two)
    put(store, one, second)
    put(store, two, first)
    found = audit(store, note)
    assert {(f.what, f.where) for f in found.findings.kept} == {(What.REORDERED, one), (What.REORDERED, two)}


def test_an_older_note_replayed_over_a_newer_is_told_as_that():
    store, note = attacked(pruned=False)
    notes = [s.key for s in store.list("checkpoints/0") if s.key.endswith("note")]
    put(store, notes[5], store.get(notes[2]))
    found = audit(store, note)
    assert [(f.what, f.where) for f in found.findings.kept] == [(What.REORDERED, notes[5])]
    assert "checkpoint 3" in found.findings.kept[0].detail


def test_a_rolled_back_archive_shows_by_the_note_kept_elsewhere_and_by_nothing_else():
    store, note = attacked(pruned=False)
    newest = max(s.key for s in store.list("checkpoints/0"))[:24]
    for stored in list(store.list(newest)):
        store.remove(stored.key)
    found = audit(store, note)
    assert [f.what for f in found.findings.kept] == [What.ROLLED_BACK]
    assert (
        audit(store, newest_note(store)).outcome is Outcome.OK
    )  # this is why the kept note must be the newest


def test_removed_notes_with_others_behind_them_are_a_range():
    world = World()
    for _ in range(6):
        world.write(4)
        world.ship()
    note = newest_note(world.store)
    for n in (3, 4):
        for stored in list(world.store.list(f"checkpoints/{n:012d}/")):
            world.store.remove(stored.key)
    found = audit(world.store, note)
    assert "checkpoints 3 to 4" in [f.where for f in found.findings.kept]


def test_a_fork_with_the_clinics_own_key_shows():
    """The same archive went two ways: each is well signed, and the auditor's note is of the other one."""
    ours = world_with_everything()
    store = copy_of(ours.store)
    archive = Archive.open(store, SECOND)
    forked = World(store=store, clock=ours.clock, log=ours.log, archive=archive, drawn=10_000)
    ours.write(3)
    ours.ship()
    forked.write(4)
    forked.ship()
    note = newest_note(ours.store)
    found = audit(forked.store, note)
    assert found.outcome is Outcome.INVALID
    assert {f.what for f in found.findings.kept} <= {What.FORKED, What.ROLLED_BACK}
    put(
        forked.store, max(s.key for s in forked.store.list("checkpoints/0")), note
    )  # the note of one in the other
    assert_found(audit(forked.store, note), max(s.key for s in forked.store.list("checkpoints/0")))


def test_a_merge_that_the_clinic_signed_over_other_records_shows_at_depth_records():
    """The attacker holds the signing key, and merges segments into one with an event changed."""
    changed = World()
    for _ in range(2):
        changed.write(12)
        changed.ship()
    honest = copy_of(changed.store)
    _merge_with_a_change(changed)
    note = newest_note(changed.store)
    found = audit(changed.store, note, Depth.RECORDS)
    assert found.outcome is Outcome.INVALID
    assert any("offsets" in f.where and f.what is What.EDITED for f in found.findings.kept)
    assert audit(honest, newest_note(honest), Depth.RECORDS).outcome is Outcome.OK


def _merge_with_a_change(world: World) -> None:
    partition = Partition(EVENTS, 0)
    held = world.index().segments[partition]
    merged = merge_segments(world.log, world.archive, held)
    offset = held[0].first
    record = world.log.records[partition][offset]
    world.log.records[partition][offset] = record._replace(value=flipped(record.value, -1))
    forged = _forge(world, partition, held, merged)
    world.shipper().ship_once(entries=[forged])


def _forge(world: World, partition, held, merged):
    """The merged segment's entry, with another object: built as the shipper does, without its check."""
    builder = SegmentBuilder(held[0].first)
    builder.add(world.log.records[partition][held[0].first : held[-1].stop])
    built = builder.finish()
    raw = {k: v for k, v in merged.raw.items() if k not in ("kind", "key", "stored", "plain", "size")}
    raw |= {"records": built.root.hex(), "last": built.last.hex(), "plain_size": len(built.plain)}
    return world.archive.add_sealed(
        "segment",
        partial(segment_key, partition, built.first, built.stop, held[0].first_time),
        built.plain,
        SegmentEntry,
        **raw,
    )


def test_what_pruning_takes_away_is_no_finding_and_what_it_leaves_is_still_looked_at():
    pruned = world_with_everything()
    note = newest_note(pruned.store)
    before = audit(pruned.store, note)
    prune_all(pruned)
    after = audit(pruned.store, note)
    assert (before.outcome, after.outcome) == (Outcome.OK, Outcome.OK)
    assert after.counts.checkpoints == before.counts.checkpoints
    assert after.counts.removed > 0
