"""Tombstones: entries that take others off what counts. Nothing is removed by one: the bytes are retention's, later."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.archive import Archive
from replicator.canonical import canonical
from replicator.entries import Entry
from replicator.manifest import FORMAT

TOMBSTONES = "tombstones/"


def add_tombstone(archive: Archive, replaces: Sequence[str], *, time: int, actor: str, reason: str) -> Entry:
    """Stores who took these keys off, when (milliseconds UTC) and why, and gives the entry for the next checkpoint.

    Like any entry that replaces, it has no effect where one of the keys counts no more by then.
    """
    told = {
        "format": FORMAT,
        "time": time,
        "actor": actor,
        "reason": reason,
        "replaces": list(replaces),
    }
    return archive.add_plain(
        "tombstone",
        lambda digest, _: f"{TOMBSTONES}{digest}.json",
        canonical(told),
        Entry,
        time=time,
        replaces=list(replaces),
    )
