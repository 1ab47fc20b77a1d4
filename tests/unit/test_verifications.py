"""The ladder: damage of every kind is found on its rung, nothing examined is a failure, and results are kept."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import Refused, StoreUnavailable
from replicator.backups import Kind
from replicator.entries import VerificationEntry, parse_entry
from replicator.outcome import Outcome
from replicator.snapshot import TableImage, load_snapshot, write_snapshot
from replicator.verifications import Depth, open_failures, verified
from services.backups import keeping, verifying
from services.backups.keeping import Stopped, back_up_forever, verify_due
from services.backups.schedule import DAY, HOUR, Schedule, due_verification
from services.backups.standing import unverified
from services.backups.verifying import record, verify_backup
from services.replicating import ship
from tests.systems import TestSystem
from tests.unit.test_backup_schedule import NOW, taken
from tests.unit.test_backups import system, take, write

__all__ = ["system"]  # the fixture


@pytest.fixture
def backed_up(system: TestSystem) -> TestSystem:
    write(system, 8)
    take(system, Kind.FULL)
    write(system, 8)
    take(system, Kind.DIFFERENTIAL)
    return system


@pytest.mark.parametrize("depth", Depth)
def test_what_is_whole_passes_every_rung(backed_up: TestSystem, depth: Depth) -> None:
    for label in (None, backed_up.archive().backups[0].label, backed_up.archive().backups[1].label):
        found = verify_backup(backed_up, label, depth, every=True)
        assert (found.outcome, found.findings) == (Outcome.OK, ())
        assert found.counts["objects"] > 5
        assert ("bytes" in found.counts) == depth.takes_in(Depth.DIGESTS)
        assert ("rows" in found.counts) == ("records" in found.counts) == depth.takes_in(Depth.DECODE)
        assert bool(found.restored) == ("tables" in found.counts) == depth.takes_in(Depth.RESTORE)
        assert ("sentinels" in found.counts) == (depth is Depth.SENTINEL)
        backed_up.clock.now += 10
        record(backed_up, found)
        (kept,) = backed_up.archive().verifications[-1:]
        assert (kept.label, kept.depth, kept.outcome, kept.time) == (label, depth, "ok", found.time)
    for backup in backed_up.archive().backups:
        assert verified(backup, backed_up.archive().verifications)[0] is depth


def damaged(system: TestSystem, key: str, how: str) -> None:
    data, at = system.store._objects.pop(key)
    if how == "flip":
        system.store._objects[key] = (data[:-1] + bytes([data[-1] ^ 1]), at)
    elif how == "cut":
        system.store._objects[key] = (data[:-1], at)


@pytest.mark.parametrize(("how", "depth"), [("drop", "listing"), ("cut", "listing"), ("flip", "digests")])
def test_every_object_that_is_damaged_is_named(backed_up: TestSystem, how: str, depth: str) -> None:
    index = backed_up.archive()
    parts = [p.key for s in index.snapshots for p in load_snapshot(index, s).parts]
    keys = [entry.key for entry in index.entries] + parts
    for key in keys:
        before = backed_up.store._objects[key]
        damaged(backed_up, key, how)
        found = verify_backup(backed_up, None, Depth(depth))
        backed_up.store._objects[key] = before
        assert found.outcome is Outcome.INVALID, key
        assert any(key in text for text in found.findings), (key, found.findings)
    assert verify_backup(backed_up, None, Depth(depth)).outcome is Outcome.OK


def test_what_is_damaged_is_found_once_and_all_of_it_is_looked_at(backed_up: TestSystem) -> None:
    keys = [e.key for e in backed_up.archive().entries if e.kind == "segment"]
    for key in keys:
        damaged(backed_up, key, "flip")
    found = verify_backup(backed_up, None, Depth.DECODE)
    assert found.counts["wrong"] == len(keys) == len(found.findings)
    assert found.counts["rows"] > 0


def test_a_restore_sees_rows_that_are_sound_and_wrong(backed_up: TestSystem) -> None:
    """Written by whoever holds the keys: digests fit, all decodes, and the tables are not those of the log."""
    index = backed_up.archive()
    real = load_snapshot(index, index.snapshots[0])
    tables = [
        TableImage(fact.name, fact.columns, [r for rows in list(real.batches(fact.name)) for r in rows[1:]])
        for fact in real.tables
    ]
    forged = write_snapshot(backed_up.writer(), index.backups[1].position, real.links, tables)
    with closing(backed_up.log()) as log:
        backed_up.clock.now += 1_000
        ship(backed_up, log, entries=[forged])
    assert verify_backup(backed_up, None, Depth.DECODE).outcome is Outcome.OK
    take(backed_up, Kind.INCREMENTAL)
    found = verify_backup(backed_up, None, Depth.RESTORE)
    assert found.outcome is Outcome.INVALID
    assert any("differs from the live history" in text for text in found.findings)


def test_a_sentinel_that_does_not_come_back(backed_up: TestSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "ship", lambda *_: None)
    found = verify_backup(backed_up, None, Depth.SENTINEL)
    assert found.outcome is Outcome.INVALID and "does not come back" in found.findings[0]


def test_nothing_examined_is_a_failure(system: TestSystem) -> None:
    found = verify_backup(system, None, Depth.SENTINEL)
    assert found.outcome is Outcome.INVALID and "nothing was examined" in found.findings[0]


def test_no_such_backup(backed_up: TestSystem) -> None:
    with pytest.raises(Refused, match="no backup of that label"):
        verify_backup(backed_up, "x", Depth.LISTING)


def test_what_cannot_be_looked_at_is_inconclusive(
    backed_up: TestSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, backed_up.identity = backed_up.identity, None
    for depth in (Depth.DECODE, Depth.RESTORE, Depth.SENTINEL):
        found = verify_backup(backed_up, None, depth)
        assert found.outcome is Outcome.INCONCLUSIVE and not found.restored
    assert verify_backup(backed_up, None, Depth.DIGESTS).outcome is Outcome.OK
    backed_up.identity = identity
    log, backed_up.place.log = backed_up.place.log, None
    assert verify_backup(backed_up, None, Depth.RESTORE).outcome is Outcome.INCONCLUSIVE
    backed_up.place.log = log

    def silent(*_: object) -> None:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(backed_up, "archive", silent)
    assert verify_backup(backed_up, None, Depth.LISTING).outcome is Outcome.INCONCLUSIVE


def test_an_archive_that_cannot_be_opened_is_invalid(backed_up: TestSystem) -> None:
    backed_up.seen = None
    damaged(backed_up, f"checkpoints/{1:012d}/note", "flip")
    found = verify_backup(backed_up, None, Depth.LISTING)
    assert found.outcome is Outcome.INVALID and "checkpoint 1" in found.findings[0]


def test_what_is_due_is_verified_beside_the_backups_and_kept(backed_up: TestSystem) -> None:
    backed_up.planned = Schedule(verification={Depth.DIGESTS: HOUR, Depth.RESTORE: DAY})
    backed_up.clock.now += HOUR
    told: list[str] = []
    stop = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        backed_up.clock.now += HOUR
        if len(told) == 2:
            stop.set()

    back_up_forever(backed_up, stop, tell, look_seconds=0.01)
    assert [t.split(",")[1].strip() for t in told] == ["restore: ok", "digests: ok"]
    assert [v.depth for v in backed_up.archive().verifications] == ["restore", "digests"]


def test_a_verification_ends_soon_after_the_process_is_to(
    backed_up: TestSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up.planned = Schedule(verification={Depth.RESTORE: HOUR})
    backed_up.clock.now += HOUR
    stop = threading.Event()
    looked = []

    def verify(system: TestSystem, label: None, depth: Depth, check):
        def counted() -> None:
            looked.append(1)
            if len(looked) == 5:
                stop.set()
            check()

        return verify_backup(system, label, depth, check=counted)

    monkeypatch.setattr(keeping, "verify_backup", verify)
    with pytest.raises(Stopped):
        verify_due(backed_up, backed_up.archive(), stop, str)
    assert len(looked) == 5 and not backed_up.archive().verifications


# What was found, as decisions see it


def found(
    depth: Depth,
    outcome: Outcome,
    label: str | None = None,
    checkpoint: int = 5,
    time: int = NOW,
    restored=(),
) -> VerificationEntry:
    raw = {
        **{"kind": "verification", "key": "verifications/x", "stored": "0" * 64, "plain": "0" * 64},
        **{"size": 1, "label": label, "depth": depth.value, "outcome": outcome.value, "time": time},
        **{"checkpoint": checkpoint, "restored": list(restored)},
    }
    entry = parse_entry(raw, "a test")
    assert isinstance(entry, VerificationEntry)
    return entry


BACKUP = taken(Kind.FULL, NOW)
OTHER = taken(Kind.FULL, NOW + 1)
FOUND = st.builds(
    found,
    st.sampled_from(Depth),
    st.sampled_from(Outcome),
    st.sampled_from([None, BACKUP.label, OTHER.label]),
    st.integers(0, 3),
    st.integers(0, 9),
)


@given(st.lists(FOUND, max_size=12))
def test_nothing_passes_but_what_was_found_ok_and_covers_it(results: list[VerificationEntry]) -> None:
    depth, time, failed = verified(BACKUP, results)
    mine = [v for v in results if v.label == BACKUP.label or (v.label is None and v.checkpoint > 1)]
    passed = [v for v in mine if v.outcome == Outcome.OK]
    assert (depth is None) == (time is None) == (not passed)
    if depth is not None:
        deepest = max(
            (Depth(v.depth) if v.restored else min(Depth(v.depth), Depth.DECODE, key=lambda d: d.rung)).rung
            for v in passed
        )
        assert depth.rung == deepest
    last_bad = max((i for i, v in enumerate(mine) if v.outcome == Outcome.INVALID), default=-1)
    cleared = any(
        v.outcome == Outcome.OK and v.depth == Depth.SENTINEL and v.label is None for v in mine[last_bad:]
    )
    assert not failed or last_bad >= 0
    assert not (failed and cleared)
    assert failed or last_bad < 0 or any(v.outcome == Outcome.OK for v in mine[last_bad:])


def test_a_failure_stands_until_as_deep_and_as_wide_a_one_passes() -> None:
    failed = found(Depth.DIGESTS, Outcome.INVALID)
    for no_help in (
        found(Depth.LISTING, Outcome.OK),
        found(Depth.SENTINEL, Outcome.OK, BACKUP.label),
        found(Depth.SENTINEL, Outcome.INCONCLUSIVE),
    ):
        assert open_failures([failed, no_help]) == [failed]
        assert verified(BACKUP, [failed, no_help]).failed or no_help.label
    assert open_failures([failed, found(Depth.DIGESTS, Outcome.OK)]) == []
    restore = found(Depth.RESTORE, Outcome.INVALID, restored=[BACKUP.label])
    assert open_failures([restore, found(Depth.RESTORE, Outcome.OK, restored=[OTHER.label])]) == [restore]


def test_everything_means_the_backups_that_were_there() -> None:
    assert verified(BACKUP, [found(Depth.DIGESTS, Outcome.OK, checkpoint=BACKUP.checkpoint)]).depth is None
    assert verified(BACKUP, [found(Depth.DIGESTS, Outcome.OK)]).depth is Depth.DIGESTS
    whole = found(Depth.RESTORE, Outcome.OK, restored=[OTHER.label])
    assert verified(BACKUP, [whole]).depth is Depth.DECODE
    assert verified(OTHER, [whole]).depth is Depth.RESTORE


RHYTHM = Schedule(verification={Depth.DIGESTS: DAY, Depth.RESTORE: 7 * DAY})


def test_when_verifications_are_due() -> None:
    assert due_verification([], [], NOW, RHYTHM) is None
    assert due_verification([], [BACKUP], NOW + HOUR - 1, RHYTHM) is None
    assert due_verification([], [BACKUP], NOW + HOUR, RHYTHM) is Depth.RESTORE
    assert due_verification([], [BACKUP], NOW + HOUR, RHYTHM, Depth.DIGESTS) is Depth.DIGESTS
    done = [found(Depth.RESTORE, Outcome.INVALID)]
    assert due_verification(done, [BACKUP], NOW + DAY - 1, RHYTHM) is None
    assert due_verification(done, [BACKUP], NOW + DAY, RHYTHM) is Depth.DIGESTS
    assert due_verification(done, [BACKUP], NOW + 100 * DAY, RHYTHM) is Depth.RESTORE
    one = [found(Depth.SENTINEL, Outcome.OK, BACKUP.label, time=NOW + HOUR)]
    assert due_verification(one, [BACKUP], NOW + HOUR, RHYTHM) is Depth.RESTORE, "of one backup alone"


def test_failed_and_missed_verifications_are_said() -> None:
    def colours(results: list[VerificationEntry], now: int) -> list[str]:
        return [colour for colour, _ in unverified(results, [BACKUP], now, RHYTHM)]

    assert colours([], NOW + DAY) == []
    assert colours([], NOW + 3 * DAY) == ["yellow"]
    assert colours([], NOW + 15 * DAY) == ["yellow", "yellow"]
    assert colours([found(Depth.RESTORE, Outcome.OK)], NOW) == []
    assert colours([found(Depth.RESTORE, Outcome.INVALID)], NOW) == ["red"]
    assert colours([found(Depth.RESTORE, Outcome.INCONCLUSIVE)], NOW) == ["yellow"]
