"""The ledger of erasures: which keys were destroyed, when, by whom and why, in the archive for ever.

It names no patient, only keys, so it outlives what it tells of; each entry is covered by the checkpoint that names it.
docs/archive-format.md fixes the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from events.errors import Corrupt
from replicator.archive import Archive, ArchiveIndex
from replicator.canonical import canonical, parse_canonical
from replicator.entries import ErasureEntry
from replicator.fetching import fetch
from replicator.manifest import FORMAT


@dataclass(frozen=True)
class Erasure:
    """One entry of the ledger."""

    keys: tuple[str, ...]
    """Their ids, 32 hex digits each."""
    erased_at: int
    """Milliseconds UTC."""
    actor: Mapping[str, str]
    reason: str
    order: str | None
    """What ordered it before its time; None where its time had come."""

    def mark(self) -> dict[str, Any]:
        """What it tells, as the mark of the erased streams says it."""
        return {
            "at": self.erased_at,
            "actor": dict(self.actor),
            "reason": self.reason,
            "order": self.order,
        }


def write_erasure(archive: Archive, number: int, erasure: Erasure) -> ErasureEntry:
    """Stores an entry of the ledger; it counts once a checkpoint names it."""
    data = canonical(
        {
            "format": FORMAT,
            "n": number,
            "keys": sorted(erasure.keys),
            "erased_at": erasure.erased_at,
            "actor": dict(erasure.actor),
            "reason": erasure.reason,
            "order": erasure.order,
        }
    )
    return archive.add_plain(
        "erasure", lambda digest, _: f"erasures/{number:06d}-{digest}.json", data, ErasureEntry, n=number
    )


def read_erasures(archive: ArchiveIndex) -> list[Erasure]:
    """The whole ledger, in commit order. Raises ArchiveGap, Corrupt."""
    return [_read(archive, entry) for entry in archive.entries if isinstance(entry, ErasureEntry)]


def _read(archive: ArchiveIndex, entry: ErasureEntry) -> Erasure:
    raw = parse_canonical(fetch(archive.store, entry, None), entry.key)
    try:
        return Erasure(
            tuple(str(key) for key in raw["keys"]),
            int(raw["erased_at"]),
            {str(name): str(value) for name, value in raw["actor"].items()},
            str(raw["reason"]),
            None if raw["order"] is None else str(raw["order"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Corrupt(f"{entry.key} is not an entry of the ledger of erasures") from None
