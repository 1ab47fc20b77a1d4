"""Summaries: what all checkpoints up to one say together, so that opening an archive does not read them all.

A summary holds checkpoint n whole and the entries that count after it: those that no later entry replaces. A checkpoint
after n names it, so the signature on the newest note covers it too; a summary that none names is an orphan, and not
believed. Whoever audits reads every checkpoint instead, and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import zstandard

from events.errors import BadInput, Corrupt
from replicator.canonical import canonical, parse_canonical
from replicator.container import ZSTD_LEVEL
from replicator.entries import Entry, parse_entry
from replicator.manifest import FORMAT
from replicator.stores import ObjectReader

SUMMARIES = "summaries/"
CANDIDATES = 4
MAX_BYTES = 1024 * 1024 * 1024
"""Of a summary, unpacked: that of a hundred years has a tenth."""
PACKED = ".zst"
"""What the keys of packed summaries end in; the first ones were not."""
_KEY = re.compile(r"summaries/([0-9]{12})-([0-9a-f]{64})\.json(\.zst)?\Z")


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
        """Canonical JSON in one zstandard frame: one is written every hour, and ten years come to 10 MiB."""
        plain = canonical(
            {
                "format": FORMAT,
                "n": self.n,
                "note": self.note.decode(),
                "manifest": self.manifest.decode(),
                "entries": [entry.raw for entry in self.entries.values()],
            }
        )
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(plain)


def parse_summary(data: bytes, where: str) -> Summary:
    """Raises Corrupt naming `where`."""
    raw = parse_canonical(_unpacked(data, where), where)
    try:
        if raw["format"] != FORMAT:
            raise ValueError("another format")
        entries = [parse_entry(entry, where) for entry in raw["entries"]]
        return Summary(
            int(raw["n"]), raw["note"].encode(), raw["manifest"].encode(), {e.key: e for e in entries}
        )
    except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
        raise Corrupt(f"{where} is not a summary of format {FORMAT} ({type(error).__name__})") from None


def _unpacked(data: bytes, where: str) -> bytes:
    """The size that a frame tells is looked at first: nothing signed it yet."""
    if not where.endswith(PACKED):
        return data
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MAX_BYTES:
            raise ValueError("of no or too large a size")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_BYTES)
    except (ValueError, zstandard.ZstdError):
        raise Corrupt(f"{where} does not unpack") from None


def summary_key(n: int, digest: str) -> str:
    return f"{SUMMARIES}{n:012d}-{digest}.json{PACKED}"


def names_summary(key: str, n: int, digest: str) -> bool:
    """Whether the key is that of summary n with these stored bytes, packed or not."""
    found = _KEY.match(key)
    return found is not None and (int(found[1]), found[2]) == (n, digest)


def summary_number(key: str) -> int | None:
    """The n of a summary's key; None for another key."""
    found = _KEY.match(key)
    return int(found[1]) if found else None


def newest_summaries(store: ObjectReader) -> list[str]:
    """The keys of the newest few, newest first: one that no checkpoint names yet is passed over."""
    keys = sorted(stored.key for stored in store.list(SUMMARIES) if summary_number(stored.key) is not None)
    return keys[: -CANDIDATES - 1 : -1]
