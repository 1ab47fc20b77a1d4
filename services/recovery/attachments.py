"""Attachments in a recovery: what is not here comes back from the archive, but for the files of erased patients.

It comes last, when log, tables and journal stand and serve, since it may take long. What is here is not asked for, so a
recovery that was stopped goes on where it was. A file that the archive cannot give is told, and the others come.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from events.attachments import HEAD_BYTES, erased_owners, owner_of, remove_owned
from events.errors import LostData
from replicator.archive import ArchiveIndex
from replicator.encryption import SUFFIX
from replicator.entries import BlobEntry
from replicator.erasures import read_erasures
from replicator.fetching import fetch
from services.system import System

Tell = Callable[[str], object]


@dataclass
class Brought:
    """What became of the attachments."""

    files: int = 0
    """That came back."""
    size_bytes: int = 0
    erased: int = 0
    """That are of erased patients: left in the archive, or removed here."""
    lost: int = 0
    """That the archive names and does not hold as they were."""


def bring_attachments(system: System, archive: ArchiveIndex, tell: Tell) -> Brought:
    """Twice is once. Raises StoreUnavailable, Unavailable."""
    found, blobs = Brought(), system.blobs()
    with closing(system.patient_keys()) as keys:
        ledger = (key for erasure in read_erasures(archive) for key in erasure.keys)
        owners = erased_owners(keys) | {bytes.fromhex(key) for key in ledger}
    found.erased += remove_owned(blobs, owners)
    wanted = [entry for entry in archive.blobs.values() if not blobs.holds(entry.plain)]
    if archive.identity_key is None and any(entry.key.endswith(SUFFIX) for entry in wanted):
        tell(
            f"note: {len(wanted):,} attached files are not here, and without the owner's file none comes back"
        )
        return found
    if wanted:
        tell(f"Bringing back attached files that are not here: up to {len(wanted):,}.")
    for entry in wanted:
        data = _fetched(archive, entry, found, tell)
        if data is None:
            continue
        if owner_of(data[:HEAD_BYTES]) in owners:
            found.erased += 1
            continue
        blobs.put(data)
        found.files += 1
        found.size_bytes += len(data)
    return found


def _fetched(archive: ArchiveIndex, entry: BlobEntry, found: Brought, tell: Tell) -> bytes | None:
    try:
        return fetch(archive.store, entry, archive.identity_key)
    except LostData as error:
        found.lost += 1
        tell(f"warning: an attached file did not come back: {error}")
        return None
