"""Summaries: what all checkpoints up to one say together, so that opening an archive does not read them all.

A summary holds checkpoint n whole and the entries that count after it: those that no later entry replaces. A checkpoint
after n names it, so the signature on the newest note covers it too; a summary that none names is an orphan, and not
believed. Whoever audits reads every checkpoint instead, and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from events.errors import BadInput, Corrupt
from replicator.canonical import canonical, parse_canonical
from replicator.entries import Entry, parse_entry
from replicator.manifest import FORMAT
from replicator.stores import ObjectReader

SUMMARIES = "summaries/"
CANDIDATES = 4
_KEY = re.compile(r"summaries/([0-9]{12})-([0-9a-f]{64})\.json\Z")


def add_entries(current: dict[str, Entry], new: Iterable[Entry]) -> None:
    """Adds a checkpoint's entries, in order, to those that count; what they replace goes.

    Two shippers may have merged the same segments: the second merge, which replaces what counts no more, has no effect.
    """
    for entry in new:
        if all(key in current for key in entry.replaces):
            for key in entry.replaces:
                del current[key]
            current[entry.key] = entry


@dataclass(frozen=True)
class Summary:
    """Checkpoints 1 to n together."""

    n: int
    note: bytes
    """Of checkpoint n, as stored."""
    manifest: bytes
    """Of checkpoint n, as stored."""
    entries: Mapping[str, Entry]
    """Those that count, by key, in commit order."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(
            {
                "format": FORMAT,
                "n": self.n,
                "note": self.note.decode(),
                "manifest": self.manifest.decode(),
                "entries": [entry.raw for entry in self.entries.values()],
            }
        )


def parse_summary(data: bytes, where: str) -> Summary:
    """Raises Corrupt naming `where`."""
    raw = parse_canonical(data, where)
    try:
        if raw["format"] != FORMAT:
            raise ValueError("another format")
        entries = [parse_entry(entry, where) for entry in raw["entries"]]
        return Summary(
            int(raw["n"]), raw["note"].encode(), raw["manifest"].encode(), {e.key: e for e in entries}
        )
    except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
        raise Corrupt(f"{where} is not a summary of format {FORMAT} ({type(error).__name__})") from None


def summary_key(n: int, digest: str) -> str:
    return f"{SUMMARIES}{n:012d}-{digest}.json"


def summary_number(key: str) -> int | None:
    """The n of a summary's key; None for another key."""
    found = _KEY.match(key)
    return int(found[1]) if found else None


def newest_summaries(store: ObjectReader) -> list[str]:
    """The keys of the newest few, newest first: one that no checkpoint names yet is passed over."""
    keys = sorted(stored.key for stored in store.list(SUMMARIES) if summary_number(stored.key) is not None)
    return keys[: -CANDIDATES - 1 : -1]
