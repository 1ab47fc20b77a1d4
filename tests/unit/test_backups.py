"""Backups: what each kind leaves in the archive, and that the log stays few objects however long it gets."""

from __future__ import annotations

import math
import threading
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.client import Client, Draft
from events.errors import Corrupt, Refused
from events.heads import LogHeads
from events.position import EVENTS, Partition
from replicator import merging
from replicator.backups import Kind, full_of, label_of, named, parse_backup, read_backups
from replicator.entries import SegmentEntry, parse_entry
from replicator.merging import halving
from replicator.planning import ASSUMED, RecoveryPlan
from replicator.targets import Target
from replicator.tombstones import add_tombstone
from services.backups.cadence import Work
from services.backups.deleting import delete, plan_deletion
from services.backups.keeping import back_up_forever
from services.backups.schedule import Schedule
from services.backups.taking import back_up
from services.recovery.acting import Request, prepare
from services.recovery.measuring import keep_rates, read_rates
from services.replicating import ship
from tests.archives import everything, logged
from tests.log_histories import note
from tests.systems import TestSystem

ACTOR = {"id": "op", "role": "operator", "system": "test"}
DATA = Partition(EVENTS, 0)


@pytest.fixture
def system(tmp_path: Path) -> TestSystem:
    return TestSystem(f"sqlite:{tmp_path / 'tables.db'}")


def write(system: TestSystem, count: int = 5) -> None:
    with closing(system.log()) as log:
        client = Client(log, LogHeads(log))
        for number in range(count):
            system.clock.now += 1
            client.append(
                f"patient-{number % 3:032x}", lambda head: Draft(note("a", str(head.version)), 1, ACTOR)
            )


def take(system: TestSystem, kind: Kind, note: str = ""):
    system.clock.now += 1_000
    with closing(system.log()) as log:
        return back_up(system, log, kind, note)


def live(system: TestSystem, checkpoints: int) -> None:
    for _ in range(checkpoints):
        write(system)
        with closing(system.log()) as log:
            system.clock.now += 1_000
            ship(system, log)


def behind(system: TestSystem, position) -> dict[Partition, int]:
    held = system.archive().segments
    return {p: sum(s.stop > position[p] for s in segments) for p, segments in held.items()}


def test_the_catalogue_tells_what_was_taken_and_what_builds_on_what(system):
    write(system, 10)
    full = take(system, Kind.FULL, "before the move")
    write(system, 7)
    differential = take(system, Kind.DIFFERENTIAL)
    incremental = take(system, Kind.INCREMENTAL)
    second = take(system, Kind.FULL)
    index = system.archive()
    assert read_backups(index) == [full, differential, incremental, second]
    assert [b.label for b in index.backups] == [b.label for b in read_backups(index)]
    assert (full.events, differential.events, full.note) == (10, 17, "before the move")
    assert (full.parent, differential.parent, incremental.parent, second.parent) == (
        None,
        full.label,
        differential.label,
        None,
    )
    assert {full.snapshot, second.snapshot} == {s.id for s in index.snapshots}
    assert full_of(index.backups, named(index.backups, incremental.label)).label == full.label
    for backup, entry in zip(read_backups(index), index.backups, strict=True):
        held = {p: n for p, n in entry.position.items() if p.topic == EVENTS}
        assert sum(held.values()) == backup.events
        assert backup.complete_through <= index.manifest.time and backup.objects and backup.all_bytes
    assert everything(index) == logged(system.place.log, index.end())


def test_a_differential_needs_a_full(system):
    write(system)
    with pytest.raises(Refused, match="no full backup"):
        take(system, Kind.DIFFERENTIAL)
    assert system.archive().backups == []


def test_behind_a_full_few_objects_stand_after_a_differential(system):
    live(system, 4)
    take(system, Kind.FULL)
    (snapshot,) = system.archive().snapshots
    for _ in range(3):
        live(system, 30)
        assert max(behind(system, snapshot.position).values()) > 12
        differential = take(system, Kind.DIFFERENTIAL)
        # What stood open at the snapshot, the merged one, and the two checkpoints of the backup itself.
        assert max(behind(system, snapshot.position).values()) <= 4
    index = system.archive()
    assert everything(index) == logged(system.place.log, index.end())
    assert differential.new_bytes < index.head.n * 1_000


def test_a_backup_that_was_not_committed_is_not_in_the_catalogue(system, monkeypatch):
    write(system)
    from services.backups import taking

    done = []

    def dies(*args, **kwargs):
        if done:
            raise KeyboardInterrupt
        done.append(ship(*args, **kwargs))

    monkeypatch.setattr(taking, "ship", dies)
    with pytest.raises(KeyboardInterrupt):
        take(system, Kind.FULL)
    assert system.archive().backups == [] == system.archive().snapshots


def test_labels_are_readable_and_unique():
    taken: set[str] = set()
    for _ in range(3):
        taken.add(label_of(1_795_516_200_000, Kind.FULL, taken))
    assert taken == {"20261124T103000Z-full", "20261124T103000Z-full-2", "20261124T103000Z-full-3"}


def test_what_is_no_backup_is_corrupt(system):
    write(system)
    data = take(system, Kind.FULL).to_bytes()
    assert parse_backup(data, "x").to_bytes() == data
    for wrong in (b"{}", b"[]", data[:-1], data.replace(b'"events":5', b'"events":"5x"')):
        with pytest.raises(Corrupt):
            parse_backup(wrong, "x")


def segments(sizes: list[int]) -> list[SegmentEntry]:
    made = []
    for number, size in enumerate(sizes):
        raw = {
            **{
                "kind": "segment",
                "key": f"log/{number}",
                "stored": "0" * 64,
                "plain": "0" * 64,
                "size": size,
            },
            **{"partition": str(DATA), "first": number, "stop": number + 1, "records": "0" * 64},
            **{"last": "0" * 64, "plain_size": size, "epochs": [], "rewinds": []},
            "time": {"first": 0, "last": 0, "min": 0, "max": 0},
        }
        made.append(parse_entry(raw, "a test"))
    return made


def merged(held: list[SegmentEntry], cost: list[int]) -> list[SegmentEntry]:
    """What stands after the merges; their bytes are added to `cost`."""
    found = {s.first: s for s in held}
    for merge in halving({DATA: held}):
        for one in merge:
            del found[one.first]
        size = sum(s.plain_bytes for s in merge)
        cost.append(size)
        found[merge[0].first] = replace(merge[0], stop=merge[-1].stop, plain_bytes=size)
    return [found[first] for first in sorted(found)]


@given(st.lists(st.lists(st.integers(1, 200), min_size=1, max_size=8), max_size=30))
def test_merging_as_it_goes_leaves_few_segments_and_writes_little_again(rounds):
    cap = merging.MERGED_BYTES
    merging.MERGED_BYTES = 1_000
    try:
        held: list[SegmentEntry] = []
        cost: list[int] = []
        for sizes in rounds:
            at = held[-1].stop if held else 0
            fresh = [replace(s, first=s.first + at, stop=s.stop + at) for s in segments(sizes)]
            held = merged([*held, *fresh], cost)
            for older, newer in pairwise(held):
                assert older.stop == newer.first
                small = older.plain_bytes + newer.plain_bytes <= 1_000
                assert not small or older.plain_bytes >= 2 * newer.plain_bytes
            assert halving({DATA: held}) == []
        total = sum(map(sum, rounds))
        assert sum(s.plain_bytes for s in held) == total
        assert len(held) <= 2 * total / 1_000 + math.log2(1_000) + 2
        # Fresh bytes are written once more, and whatever is written again has grown by half.
        assert sum(cost) <= total * (1 + math.log(1_000, 1.5))
    finally:
        merging.MERGED_BYTES = cap


def test_a_full_backup_merges_old_small_segments(system):
    for _ in range(6):
        live(system, 15)
        take(system, Kind.FULL)
    index = system.archive()
    assert max(len(held) for held in index.segments.values()) < 16
    assert everything(index) == logged(system.place.log, index.end())


def test_what_is_due_is_taken_beside_and_a_failure_is_told_and_tried_again(system):
    write(system)
    system.planned = Schedule(full_millis=3_600_000, differential_millis=60_000)
    told: list[str] = []
    stop = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        system.clock.now += 61_000
        if len(told) == 1:
            system.place.log = lost
        if len(told) == 3:
            stop.set()

    lost, system.place.log = system.place.log, None
    back_up_forever(system, stop, tell, look_seconds=0.01)
    assert "waits" in told[0] and "-full: 5 events" in told[1] and "-differential: 5 events" in told[2]
    assert [b.backup for b in system.archive().backups] == [Kind.FULL, Kind.DIFFERENTIAL]


def remove(system: TestSystem, label: str) -> None:
    index = system.archive()
    with closing(system.log()) as log:
        delete(system, log, plan_deletion(index.backups, index.snapshots, label), "op")


def test_what_a_kept_backup_needs_is_not_deleted(system):
    write(system)
    full, differential = take(system, Kind.FULL), take(system, Kind.DIFFERENTIAL)
    incremental = take(system, Kind.INCREMENTAL)
    for label, needing in ((full.label, differential.label), (differential.label, incremental.label)):
        with pytest.raises(Refused, match=f"needed by {needing}"):
            remove(system, label)
    for label in (incremental.label, differential.label, full.label):
        remove(system, label)
    index = system.archive()
    assert index.backups == [] == index.snapshots
    assert everything(index) == logged(system.place.log, index.end()), "the log stays"
    with pytest.raises(Refused, match="no backup of that label"):
        remove(system, full.label)


def test_a_deletion_says_which_moments_get_slower(system):
    fulls = []
    for _ in range(3):
        write(system)
        fulls.append(take(system, Kind.FULL))
    index = system.archive()
    plans = [plan_deletion(index.backups, index.snapshots, full.label) for full in fulls]
    assert [(p.slower_from, p.slower_to, p.instead) for p in plans] == [
        (fulls[0].complete_through, fulls[1].complete_through, None),
        (fulls[1].complete_through, fulls[2].complete_through, fulls[0].snapshot),
        (fulls[2].complete_through, None, fulls[1].snapshot),
    ]
    assert all(plan.size_bytes > 500 for plan in plans)
    remove(system, fulls[1].label)
    assert [b.label for b in system.archive().backups] == [fulls[0].label, fulls[2].label]
    assert [s.id for s in system.archive().snapshots] == [fulls[0].snapshot, fulls[2].snapshot]


def test_deleted_while_something_was_built_on_it_is_refused(system):
    write(system)
    full = take(system, Kind.FULL)
    index = system.archive()
    plan = plan_deletion(index.backups, index.snapshots, full.label)
    take(system, Kind.DIFFERENTIAL)
    with closing(system.log()) as log, pytest.raises(Refused, match="needed by"):
        delete(system, log, plan, "op")
    assert len(system.archive().backups) == 2


def test_of_two_tombstones_the_second_has_no_effect(system):
    write(system)
    full = take(system, Kind.FULL)
    index = system.archive()
    plan = plan_deletion(index.backups, index.snapshots, full.label)
    stones = [add_tombstone(system.writer(), plan.replaces, time=n, actor="op", reason="") for n in (1, 2)]
    with closing(system.log()) as log:
        for stone in stones:
            system.clock.now += 1
            ship(system, log, entries=[stone])
    kept = [entry.key for entry in system.archive().entries if entry.kind == "tombstone"]
    assert kept == [stones[0].key] and system.archive().backups == []


def test_what_was_measured_is_kept_and_what_is_not_ours_is_passed_over(system):
    assert read_rates(system) == ASSUMED
    keep_rates(system, Work(0, 0, 0, 1_000, 0.5))
    assert system.rates is None, "too short to say anything"
    keep_rates(system, Work(50_000, 2.0, 0, 90_000, 4.0))
    assert (read_rates(system).restore_per_second, read_rates(system).replay_per_second) == (25_000, 22_500)
    for wrong in (b"", b"{", b'{"replay_per_second": -1}', b"[]"):
        system.rates = wrong
        assert read_rates(system) == ASSUMED


def plan_of(system: TestSystem) -> RecoveryPlan:
    request = Request(Target(), ACTOR, "test")
    view, plan = prepare(system, request, str, ship_first=False)
    view.close()
    return plan


@pytest.mark.parametrize("lost", ["tables", "both"])
def test_however_long_the_history_a_recovery_opens_few_objects_behind_its_snapshot(system, lost):
    live(system, 30)
    full = take(system, Kind.FULL)
    for _ in range(8):
        live(system, 40)
        differential = take(system, Kind.DIFFERENTIAL)
    live(system, 5)
    assert system.archive().head.n > 350
    system.lose_tables()
    if lost == "both":
        system.lose_log()
    plan = plan_of(system)
    assert (plan.tables, plan.snapshot) == ("rebuild", full.snapshot)
    assert plan.backups == (full.label, differential.label)
    assert 0 < max(plan.tail_segments.values()) <= 12
    if lost == "both":  # the whole log is read, and it is few objects too
        assert plan.segments < 40


def test_a_plan_names_the_backups_that_it_restores_from_and_no_others(system):
    live(system, 1)
    assert plan_of(system).backups == ()
    take(system, Kind.FULL)
    second = take(system, Kind.FULL)
    write(system)
    differential = take(system, Kind.DIFFERENTIAL)
    moment = system.clock.now
    write(system)
    incremental = take(system, Kind.INCREMENTAL)
    system.lose_tables()
    assert plan_of(system).backups == (second.label, incremental.label)
    request = Request(Target(moment), ACTOR, "test")
    view, plan = prepare(system, request, str, ship_first=False)
    view.close()
    assert plan.backups == (second.label, differential.label)
    remove(system, incremental.label)
    assert plan_of(system).backups == (second.label, differential.label)
