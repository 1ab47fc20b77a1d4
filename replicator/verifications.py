"""What verifications found: kept in the archive, so that each backup shows when and how deeply it was verified.

The depths are rungs of a ladder: each takes in those before it. The result of a verification is one small object that
an entry names; the entry tells what decisions need.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from replicator.archive import Archive
from replicator.canonical import canonical, utc_second
from replicator.entries import BackupEntry, VerificationEntry
from replicator.manifest import FORMAT
from replicator.outcome import Outcome

VERIFICATIONS = "verifications/"


class Depth(StrEnum):
    LISTING = "listing"
    """Every object is there, with its size, and the segments join."""
    DIGESTS = "digests"
    """Stored bytes are those that were stored."""
    DECODE = "decode"
    """Every record and every row decodes, and the records are those of the segment's tree."""
    RESTORE = "restore"
    """Restored into scratch, and compared with the live history table by table."""
    SENTINEL = "sentinel"
    """An event that was appended now comes back from the archive."""

    @property
    def rung(self) -> int:
        return list(Depth).index(self)

    def takes_in(self, other: Depth) -> bool:
        return self.rung >= other.rung


@dataclass(frozen=True)
class Verification:
    """One verification. Times are milliseconds."""

    label: str | None
    depth: Depth
    outcome: Outcome
    time: int
    checkpoint: int
    restored: tuple[str, ...]
    counts: dict[str, int]
    """What was looked at: objects, bytes, records, rows, tables."""
    findings: tuple[str, ...]
    """What is wrong, and then what could not be looked at: the first of them."""
    duration_millis: int

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "depth": self.depth.value,
            "outcome": self.outcome.value,
            "restored": list(self.restored),
            "findings": list(self.findings),
        }


def add_verification(archive: Archive, found: Verification) -> VerificationEntry:
    """Stores what was found and gives its entry, which the next checkpoint must name."""
    return archive.add_plain(
        "verification",
        lambda digest, _: f"{VERIFICATIONS}{utc_second(found.time)}-{digest}.json",
        canonical({"format": FORMAT, **found.to_json()}),
        VerificationEntry,
        label=found.label,
        depth=found.depth.value,
        outcome=found.outcome.value,
        time=found.time,
        checkpoint=found.checkpoint,
        restored=list(found.restored),
    )


class Verified(NamedTuple):
    """How a backup stands."""

    depth: Depth | None
    """The deepest that it ever passed; None: none."""
    time: int | None
    """When it passed that last."""
    failed: bool
    """Whether something was found wrong since, and not passed again."""


def verified(backup: BackupEntry, verifications: Iterable[VerificationEntry]) -> Verified:
    """From all that was found, in commit order."""
    depth: Depth | None = None
    time: int | None = None
    mine = [v for v in verifications if _covers(v, backup)]
    for v in mine:
        reached = _reached(v, backup)
        if v.outcome == Outcome.OK and (depth is None or reached.takes_in(depth)):
            depth, time = reached, v.time
    return Verified(depth, time, bool(open_failures(mine)))


def _covers(v: VerificationEntry, backup: BackupEntry) -> bool:
    return v.label == backup.label or (v.label is None and v.checkpoint > backup.checkpoint)


def _reached(v: VerificationEntry, backup: BackupEntry) -> Depth:
    """Of a verification of everything, those backups alone were restored that it names."""
    depth = Depth(v.depth)
    return depth if backup.label in v.restored or Depth.DECODE.takes_in(depth) else Depth.DECODE


def open_failures(verifications: Iterable[VerificationEntry]) -> list[VerificationEntry]:
    """Those that found something wrong, and no later one as deep and as wide found all well."""
    failed: list[VerificationEntry] = []
    for v in verifications:
        if v.outcome == Outcome.OK:
            failed = [f for f in failed if not _clears(v, f)]
        elif v.outcome == Outcome.INVALID:
            failed.append(v)
    return failed


def _clears(passed: VerificationEntry, failed: VerificationEntry) -> bool:
    wide = passed.label is None or passed.label == failed.label
    restored = set(failed.restored) <= set(passed.restored)
    return wide and restored and Depth(passed.depth).takes_in(Depth(failed.depth))


def last_whole(verifications: Sequence[VerificationEntry], depth: Depth) -> VerificationEntry | None:
    """The newest verification of everything that was at least so deep, whatever it found."""
    whole = (v for v in reversed(verifications) if v.label is None)
    return next((v for v in whole if Depth(v.depth).takes_in(depth)), None)
