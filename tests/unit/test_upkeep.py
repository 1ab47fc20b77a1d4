"""Keeping an archive small to list: merged segments, joined checkpoints, summaries. What it says stays the same."""

from __future__ import annotations

import random

import pytest

from events.effective import cut
from events.errors import ArchiveDiverged, ArchiveGap
from events.position import EVENTS
from replicator.archive import open_archive
from replicator.checkpoints import list_checkpoints
from replicator.entries import CheckpointsEntry, SegmentEntry, SummaryEntry
from replicator.joined import JOINED, joined_range
from replicator.manifest import manifest_key
from replicator.merging import DAY, HOUR, merge_segments, merges, since
from replicator.summary import summary_number
from replicator.upkeep import upkeep, upkeep_due
from tests.archives import IDENTITY, SIGNER, World, everything, logged
from tests.tampering import prune_all


def live(world: World, hours: int, *, ships: int = 3) -> None:
    """Ships a few checkpoints an hour, and does the upkeep whenever it is due."""
    for _ in range(hours * ships):
        world.write(12)
        world.ship()
        world.clock.now += HOUR // ships
        keep_up(world)


def keep_up(world: World) -> list:
    index = world.index()
    if not upkeep_due(index):
        return []
    entries = upkeep(world.log, world.archive, index)
    world.clock.now += 1
    world.shipper().ship_once(entries=entries)
    return entries


def whole(world: World):
    return open_archive(world.store, IDENTITY, verifiers=[SIGNER.verifier], whole=True)


def forget_small(world: World) -> None:
    """Takes away what retention would: segments that were replaced, checkpoints that were joined."""
    index = world.index()
    joined = index.joined[-1].last.n
    for n, listed in list_checkpoints(world.store).items():
        if n <= joined:
            for key in (*listed.manifests, f"checkpoints/{n:012d}/note"):
                world.store.remove(key)
    current = {entry.key for entry in index.entries}
    for stored in list(world.store.list("log/")):
        if stored.key not in current:
            world.store.remove(stored.key)


def test_what_an_archive_says_does_not_change_by_upkeep():
    world = World()
    live(world, 50)
    index, every = world.index(), whole(world)
    assert index.named_since, "it was opened from a summary"
    assert any(isinstance(entry, CheckpointsEntry) for entry in index.entries)
    assert {e.key: e for e in index.entries} == {e.key: e for e in every.entries}
    assert list(index.marks) == list(every.marks)
    assert len(index.marks) == len(every.marks) == index.head.n
    assert everything(index) == logged(world.log, index.end())
    assert everything(every) == everything(index)


def test_moments_are_the_same_positions_from_joined_checkpoints():
    world = World()
    live(world, 30)
    index, every = world.index(), whole(world)
    span = index.restorable
    rnd = random.Random(7)
    for time in (span.first, span.last, *(rnd.randint(span.first, span.last) for _ in range(200))):
        assert cut(time, index.marks, index) == cut(time, every.marks, every), time
    for offset in range(index.end().control):
        assert index.marks.unseen(offset) == every.marks.unseen(offset)


def test_few_objects_are_left_and_enough_of_them():
    world = World()
    live(world, 52, ships=5)
    forget_small(world)
    index = world.index()
    assert everything(index) == logged(world.log, index.end())
    assert everything(whole(world)) == everything(index)
    assert list(index.marks) == list(whole(world).marks)
    # Two days, and the hours of the newest.
    assert len(index.segments[next(p for p in index.segments if p.topic == EVENTS)]) < 40
    assert len(index.joined) < 30
    live(world, 3)
    assert everything(world.index()) == logged(world.log, world.index().end())


def test_a_note_seen_long_ago_is_found_in_joined_checkpoints():
    world = World()
    notes = []
    for _ in range(30):
        world.write(3)
        notes.append(world.ship().note)
        world.clock.now += HOUR // 2
        keep_up(world)
    forget_small(world)
    for note in notes:
        world.index(seen=note)
    other = World()
    other.write(5)
    other.ship()
    other.write(1)
    with pytest.raises(ArchiveDiverged):
        world.index(seen=other.ship().note)


def test_a_summary_that_no_checkpoint_names_is_not_believed():
    world = World()
    live(world, 4)
    before = world.index().entries
    world.clock.now += HOUR
    world.write(2)
    world.ship()
    entries = upkeep(world.log, world.archive, world.index())
    assert any(isinstance(entry, SummaryEntry) for entry in entries), "stored, and never committed"
    index = world.index()
    assert [e.key for e in index.entries][: len(before)] == [e.key for e in before]
    assert everything(index) == logged(world.log, index.end())


def test_a_missing_joined_object_is_a_gap_that_is_named():
    world = World()
    live(world, 30)
    forget_small(world)
    index = world.index()
    world.store.remove(index.joined[0].key)
    with pytest.raises(ArchiveGap, match="missing"):
        whole(world)
    opened = world.index()
    with pytest.raises(ArchiveGap, match="missing"):
        opened.marks.at_or_before((index.joined[0].first.time + index.joined[0].last.time) // 2)


def test_of_two_merges_of_the_same_segments_the_second_has_no_effect():
    world = World()
    live(world, 1)
    world.clock.now += HOUR
    world.write(2)
    world.ship()
    index = world.index()
    first = upkeep(world.log, world.archive, index)
    (merge, *_) = merges(index.segments, since(index.end().__class__()))
    second = merge_segments(world.log, world.archive, merge[:2])
    world.clock.now += 1
    world.shipper().ship_once(entries=first)
    world.clock.now += 1
    world.shipper().ship_once(entries=[second])
    assert everything(world.index()) == logged(world.log, world.index().end())
    assert second.key not in {entry.key for entry in world.index().entries}


def test_a_log_with_other_records_is_not_merged():
    world, other = World(), World()
    world.write(40)
    world.ship()
    other.write(40, size=149)
    (merge, *_) = merges(world.index().segments, lambda segment: True)
    with pytest.raises(ArchiveDiverged, match="not those archived"):
        merge_segments(other.log, world.archive, merge)


def test_merged_segments_tell_what_the_small_ones_told():
    world = World()
    epoch = bytes(range(16))
    world.write(30)
    world.write(30, epoch)
    world.ship()
    world.write(10)
    world.ship()
    held = world.index().segments
    for merge in merges(held, lambda segment: True):
        entry = merge_segments(world.log, world.archive, merge)
        assert (entry.first, entry.stop) == (merge[0].first, merge[-1].stop)
        assert entry.min_time == min(s.min_time for s in merge)
        assert dict(entry.epochs) == {
            e: min(o for s in merge for x, o in s.epochs if x == e) for s in merge for e, _ in s.epochs
        }
    assert isinstance(entry, SegmentEntry)


@pytest.mark.parametrize("hours", [1, 23, 26])
def test_an_idle_archive_is_left_alone(hours):
    world = World()
    live(world, hours)
    world.clock.now += DAY
    world.ship()
    keep_up(world)
    assert not upkeep_due(world.index())
    assert keep_up(world) == []


def test_a_writer_that_died_right_behind_an_upkeep_hides_no_checkpoint():
    """The summary is stored and not named yet, and of the next checkpoint there is a manifest and no note."""
    world = World()
    live(world, 3)
    forget_small(world)
    world.clock.now += HOUR
    world.write(2)
    world.ship()
    newest = world.index().head.n
    upkeep(world.log, world.archive, world.index())
    world.store.create(manifest_key(newest + 1, b"half a checkpoint"), b"half a checkpoint")
    assert world.archive.head().n == newest
    assert world.ship().checkpoint == newest + 1
    assert everything(world.index()) == logged(world.log, world.index().end())


def test_a_damaged_summary_costs_time_and_nothing_else():
    world = World()
    live(world, 30)
    forget_small(world)
    for stored in list(world.store.list("summaries/")):
        world.store.remove(stored.key)
        world.store.create(stored.key, b"{}")
    index = world.index()
    assert everything(index) == logged(world.log, index.end())
    assert list(index.marks) == list(whole(world).marks)


def test_an_older_summary_that_leads_nowhere_is_passed_over():
    """What stood behind it is joined by the day now, from before it on."""
    world = World()
    live(world, 10)
    old = max(stored.key for stored in world.store.list("summaries/"))
    data = world.store.get(old)
    live(world, 30)
    prune_all(world)
    for stored in list(world.store.list("summaries/")):
        world.store.remove(stored.key)
    world.store.create(old, data)
    (first, last), *_ = [joined_range(s.key) for s in world.store.list(JOINED)]
    assert (first, last > summary_number(old)) == (1, True), "the first day is one object"
    index = world.index()
    assert everything(index) == logged(world.log, index.end())
