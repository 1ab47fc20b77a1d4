"""Whether the blobs of an archive are what its events say: there, and where keys are at hand, opened.

What they should hold is gathered from the records that name them while those are decoded anyway. Where a key is not at
hand a blob's stored and plain bytes are verified, and no more is asked of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from events.attachments import Kept, NoKey, files_of, open_blob
from events.blobs import named_by
from events.codec import decode_events
from events.envelope import Event
from events.errors import Corrupt
from events.log import Record
from events.patient_keys import ERASED, KeyStore
from events.sealing import SHUT, Opener, Reveal
from replicator.archive_index import ArchiveIndex
from replicator.entries import BlobEntry
from replicator.fetching import fetch


class Files:
    """What the records say of the blobs that they name."""

    def __init__(self, keys: KeyStore | None) -> None:
        """`keys`: the patients', where they are at hand."""
        self._find = keys.find if keys is not None else lambda key_id: None
        self._reveal: Reveal = Opener(keys) if keys is not None else SHUT
        self._erased = frozenset(keys.marks(ERASED) if keys is not None else ())
        self._named: dict[bytes, set[str]] = {}
        """blob -> the streams whose records name it."""
        self._said: dict[bytes, set[tuple[str, Kept]]] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Only records that name blobs are looked into."""
        naming = [record for record in records if record.headers and any(named_by(record.headers))]
        events = decode_events([record.value for record in naming])
        for record, event in zip(naming, events, strict=True):
            stream = (record.key or b"").decode(errors="replace")
            for blob in named_by(record.headers):
                self._named.setdefault(blob, set()).add(stream)
            if isinstance(event, Event):
                for kept in files_of(self._reveal(event).payload):
                    self._said.setdefault(kept.blob_sha256, set()).add((event.stream, kept))

    def missing(self, held: Collection[bytes]) -> list[bytes]:
        """Those that the archive should hold; of erased patients nobody has them."""
        return [
            blob
            for blob, streams in sorted(self._named.items())
            if blob not in held and not streams <= self._erased
        ]

    def open(self, index: ArchiveIndex, entry: BlobEntry) -> bool:
        """Whether its key was at hand. Raises as `fetch`, and Corrupt where it does not hold what an event says."""
        data = fetch(index.store, entry, index.identity_key)
        said = self._said.get(entry.plain, set())
        opened = [self._opens(entry, data, stream, kept) for stream, kept in said]
        return bool(opened) and all(opened)

    def _opens(self, entry: BlobEntry, data: bytes, stream: str, kept: Kept) -> bool:
        try:
            open_blob(data, stream, kept.content_sha256, kept.size_bytes, self._find)
        except NoKey:
            return False
        except Corrupt as error:
            raise Corrupt(f"{entry.key}: {error.message}", error.hint) from None
        return True
