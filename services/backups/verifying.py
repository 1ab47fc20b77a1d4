"""The ladder of verification: climbed rung by rung up to the depth that was asked for, and kept with its result.

Nothing that was found wrong ends it but what makes the next rung impossible; what cannot be looked at from here makes
it inconclusive. Nothing examined is a failure: a verification of nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from events.errors import Busy, LogMissing, LostData, Unavailable
from events.patient_keys import KeyStore
from replicator.archive import ArchiveIndex
from replicator.backups import named, newest
from replicator.entries import BackupEntry
from replicator.examining import (
    Check,
    Found,
    examine_decode,
    examine_digests,
    examine_listing,
    subject_of,
)
from replicator.outcome import Outcome
from replicator.verifications import Depth, Verification, add_verification
from services.backups.rehearsing import append_sentinel, comes_back, compare_with_live
from services.replicating import ship
from services.system import System

UNDECIDED = (Unavailable, Busy, LogMissing)
"""What says nothing about the archive: somebody did not answer, or there is nothing to compare with."""


def never() -> None:
    """Nothing ends it."""


def verify_backup(
    system: System, label: str | None, depth: Depth, *, every: bool = False, check: Check = never
) -> Verification:
    """Verifies a backup, or (None) all that counts in the system's archive, and gives what it found.

    Of all that counts, `every` backup is restored, else the newest. Raises Refused where there is no such backup, and
    what `check` raises.
    """
    begun, found = system.clock(), Found()
    restored: list[str] = []
    checkpoint = 0
    try:
        index = system.archive()
        checkpoint = index.head.n
        with closing(system.patient_keys()) as keys:
            _examine(index, label, depth, found, check, keys)
        if depth.takes_in(Depth.RESTORE) and not _closed(index, found):
            restored = _rehearse(system, index, _chosen(index, label, every), found, check)
        if depth.takes_in(Depth.SENTINEL) and not found.wrong and not found.open:
            _round_trip(system, index, found, check)
    except UNDECIDED as error:
        found.open.append(str(error))
    except LostData as error:
        found.add_wrong(str(error))
    if not found.counts["objects"] and not found.open:
        found.add_wrong("nothing was examined: the archive holds nothing of it")
    return Verification(
        label=label,
        depth=depth,
        outcome=_outcome(found),
        time=begun,
        checkpoint=checkpoint,
        restored=tuple(restored),
        counts=dict(found.counts),
        findings=(*found.wrong, *found.open),
        duration_millis=max(0, system.clock() - begun),
    )


def _outcome(found: Found) -> Outcome:
    return Outcome.INVALID if found.wrong else Outcome.INCONCLUSIVE if found.open else Outcome.OK


def _examine(
    index: ArchiveIndex, label: str | None, depth: Depth, found: Found, check: Check, keys: KeyStore
) -> None:
    subject = subject_of(index, label, found)
    examine_listing(subject, found)
    check()
    if depth.takes_in(Depth.DIGESTS):
        examine_digests(subject, found, check)
    if depth.takes_in(Depth.DECODE):
        examine_decode(subject, found, check, keys)


def _closed(index: ArchiveIndex, found: Found) -> bool:
    return bool(found.wrong) or bool(index.recipients and index.identity_key is None)


def _chosen(index: ArchiveIndex, label: str | None, every: bool) -> list[BackupEntry]:
    if label is not None:
        return [named(index.backups, label)]
    last = newest(index.backups)
    return index.backups if every else [last] if last else []


def _rehearse(
    system: System, index: ArchiveIndex, backups: Sequence[BackupEntry], found: Found, check: Check
) -> list[str]:
    """Restores each, and gives the labels of those that were restored; without any, what the archive holds now."""
    if not len(index.marks):
        return []
    for position in [b.position for b in backups] or [index.end()]:
        compared = compare_with_live(system, index, position, check)
        found.counts["tables"] += len(compared.tables)
        found.counts["restored_rows"] += sum(table["rows"] for table in compared.tables.values())
        for table in compared.differ:
            found.add_wrong(f"restored at {position}, the table {table} differs from the live history")
    return [b.label for b in backups]


def _round_trip(system: System, index: ArchiveIndex, found: Found, check: Check) -> None:
    with closing(system.log()) as log:
        event_id = append_sentinel(system, log, index.config.clinic_id)
        ship(system, log)
    fresh = system.archive()
    if not comes_back(system, fresh, event_id, check):
        found.add_wrong("an event that was appended and shipped just now does not come back from the archive")
    found.counts["sentinels"] += 1


def record(system: System, verification: Verification) -> int:
    """Keeps what was found in the archive; gives the checkpoint. Raises Unavailable, Busy, LostData, Refused."""
    with closing(system.log()) as log:
        entry = add_verification(system.writer(), verification)
        return ship(system, log, entries=[entry]).checkpoint
