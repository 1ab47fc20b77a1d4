"""Which backups have been kept long enough: a pure plan that never takes what a kept one needs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from events.position import EVENTS, Partition, Position
from replicator.backups import Kind
from replicator.entries import BackupEntry, SnapshotEntry
from services.backups.policy import Hold, Keep, Policy
from services.backups.retaining import DAY_MILLIS, plan_expiry

NOW = 1_000 * DAY_MILLIS
KINDS = list(Kind)


def policy(newest: int = 1, days: float = 10, holds=()) -> Policy:
    return Policy({kind: Keep(newest, days) for kind in Kind}, holds)


def backup(number: int, kind: Kind, parent: str | None, snapshot: str | None) -> BackupEntry:
    named: dict[str, Any] = {"stored": bytes(32), "plain": bytes(32), "size_bytes": 10, "raw": {}}
    return BackupEntry(
        kind="backup",
        key=f"backups/{number:04}",
        **named,
        label=f"b{number}",
        backup=kind.value,
        begun=number,
        complete_through=number,
        checkpoint=number,
        position=Position(),
        parent=parent,
        snapshot=snapshot,
    )


def snapshot(number: int) -> SnapshotEntry:
    named: dict[str, Any] = {"stored": bytes(32), "plain": bytes(32), "size_bytes": 10, "raw": {}}
    at = Position({Partition(EVENTS, 0): number})
    key = f"snapshots/{number:04}/manifest"
    return SnapshotEntry(
        "snapshot", key, **named, id=f"s{number}", position=at, links=(), rows=1, parts_bytes=5
    )


@st.composite
def catalogues(draw):
    """Backups in the order they were taken, each building on an earlier one or on none, and their ages in days."""
    backups, snapshots, stored = [], [], {}
    ages = sorted(draw(st.lists(st.integers(0, 60), min_size=1, max_size=12)), reverse=True)
    for number, age in enumerate(ages, 1):
        kind = draw(st.sampled_from(KINDS)) if backups else Kind.FULL
        parent = None if kind is Kind.FULL else draw(st.sampled_from(backups)).label
        taken = snapshot(number) if kind is Kind.FULL else None
        backups.append(backup(number, kind, parent, taken.id if taken else None))
        stored[backups[-1].key] = NOW - age * DAY_MILLIS
        if taken:
            snapshots.append(taken)
            stored[taken.key] = NOW - age * DAY_MILLIS
    return backups, snapshots, stored


@given(catalogues(), st.integers(0, 4), st.integers(0, 60))
def test_what_is_kept_has_all_that_it_builds_on(catalogue, newest, days):
    backups, snapshots, stored = catalogue
    found = plan_expiry(backups, snapshots, stored, policy(newest, days), NOW)
    gone = {b.label for b in found.backups}
    lost = {s.id for s in found.snapshots}
    for kept in (b for b in backups if b.label not in gone):
        assert kept.parent not in gone
        assert kept.snapshot is None or kept.snapshot not in lost
    for b in found.backups:
        assert NOW - stored[b.key] > days * DAY_MILLIS
    for kind in Kind:
        assert not gone & {b.label for b in [b for b in backups if b.backup == kind][-newest:] if newest}


@given(catalogues())
def test_a_hold_keeps_what_it_names(catalogue):
    backups, snapshots, stored = catalogue
    middle = backups[len(backups) // 2].complete_through
    found = plan_expiry(backups, snapshots, stored, policy(0, 0, [Hold(middle, middle, "a court")]), NOW)
    assert middle not in {b.complete_through for b in found.backups}


@given(catalogues())
def test_a_second_plan_finds_nothing_more(catalogue):
    backups, snapshots, stored = catalogue
    first = plan_expiry(backups, snapshots, stored, policy(), NOW)
    left = [b for b in backups if b not in first.backups]
    kept = [s for s in snapshots if s not in first.snapshots]
    again = plan_expiry(left, kept, stored, policy(), NOW)
    assert not again.backups
    assert not again.snapshots


def test_what_the_store_has_not_told_of_is_taken_for_new():
    backups, snapshots = (
        [backup(1, Kind.FULL, None, "s1"), backup(2, Kind.FULL, None, "s2")],
        [snapshot(1), snapshot(2)],
    )
    assert not plan_expiry(backups, snapshots, {}, policy(0, 0), NOW).keys


def test_a_snapshot_that_no_backup_names_goes_in_time_but_for_the_newest():
    snapshots = [snapshot(1), snapshot(2)]
    stored = {s.key: NOW - 11 * DAY_MILLIS for s in snapshots}
    found = plan_expiry([], snapshots, stored, policy(), NOW)
    assert [s.id for s in found.snapshots] == ["s1"]
