"""The loss of every key but the owner's, rehearsed: whether the owner's file alone opens all that was shipped.

Nothing that the home knows of keys is used, but for the place of their backup and for what it must hold at least.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from events.catalogue import SEALED
from events.codec import decode_events
from events.envelope import Event
from events.errors import LostData, Refused, Unavailable
from events.patient_keys import MemoryKeys
from events.position import EVENTS
from replicator.archive import ArchiveIndex, open_archive
from replicator.encryption import Identity
from replicator.entries import SegmentEntry
from replicator.examining import THREADS, Found, subject_of
from replicator.fetching import Named, fetch
from replicator.outcome import Outcome
from replicator.rotations import Changed, read_rotations
from replicator.segment import contiguous, read_blocks
from replicator.trust import Handover
from services.home import Home

ENCRYPTED = ("log/", "snapshots/")
"""What the keys of an archive's encrypted objects begin with."""
Advance = Callable[[float], object]
Sealed = dict[str, str]
"""key id -> the stream whose events are sealed under it."""


@dataclass
class Rehearsal:
    """What the identity opens, and what it does not."""

    archives: dict[str, Found] = field(default_factory=dict)
    """By the archive's name."""
    key_backups: int = 0
    """Objects of the backup of patients' keys that were read."""
    keys: int = 0
    """Of patients, in that backup, destroyed ones included."""
    sealed: Sealed = field(default_factory=dict)
    opened: dict[str, Counter[str]] = field(default_factory=dict)
    """public key -> how many `objects` and `key_backups` no key that stands before it in the file opens."""
    rotations: dict[str, list[Changed | Handover]] = field(default_factory=dict)
    """How each archive's keys changed, by the archive's name."""
    wrong: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """What could not be looked at, or is only not there yet."""

    @property
    def findings(self) -> tuple[list[str], list[str]]:
        """(wrong, open), of the archives too."""
        wrong, unsure = list(self.wrong), list(self.open)
        for name, found in self.archives.items():
            wrong += [f"{name}: {text}" for text in found.wrong]
            unsure += [f"{name}: {text}" for text in found.open]
        return wrong, unsure

    @property
    def outcome(self) -> Outcome:
        wrong, unsure = self.findings
        return Outcome.INVALID if wrong else Outcome.INCONCLUSIVE if unsure else Outcome.OK


class Counting(Identity):
    """An identity that counts what each of its keys is needed for. Safe for several threads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.uses: dict[str, Counter[str]] = {recipient: Counter() for recipient in self.recipients}
        self._lock = threading.Lock()

    def open(self, stored: bytes, where: str) -> bytes:
        plain, recipient = self.open_with(stored, where)
        kind = "objects" if where.startswith(ENCRYPTED) else "key_backups"
        with self._lock:
            self.uses[recipient][kind] += 1
        return plain


def rehearse(places: Sequence[Home], identity: Counting, advance: Advance = lambda size: None) -> Rehearsal:
    """Opens every object of these archives of one home, and the backup of the patients' keys, with one identity."""
    found = Rehearsal()
    for place in places:
        opened = found.archives[place.archive_name] = Found()
        try:
            index = open_archive(place.store(), identity, place.seen(), [place.verifier()])
            found.rotations[place.archive_name] = read_rotations(index)
            _open_all(index, opened, found.sealed, advance)
        except Unavailable as error:
            opened.open.append(str(error))
        except (LostData, Refused) as error:
            opened.add_wrong(error.message)
        if not opened.counts["objects"] and not opened.open and not opened.wrong:
            opened.add_wrong("nothing was examined: the archive holds nothing yet")
    _patient_keys(places[0], identity, found)
    found.opened = identity.uses
    return found


def _open_all(index: ArchiveIndex, found: Found, sealed: Sealed, advance: Advance) -> None:
    objects = subject_of(index, None, found).objects
    with ThreadPoolExecutor(THREADS, thread_name_prefix="open") as pool:
        try:
            for named, (wrong, ids) in zip(
                objects, pool.map(lambda o: _opened(index, o), objects), strict=True
            ):
                found.counts["objects"] += 1
                found.counts["bytes"] += named.size_bytes
                sealed |= ids
                if wrong:
                    found.add_wrong(wrong)
                advance(found.counts["bytes"])
        finally:
            pool.shutdown(cancel_futures=True)


def _opened(index: ArchiveIndex, named: Named) -> tuple[str, Sealed]:
    """What is wrong with an object ('': nothing), and the keys that its events are sealed under."""
    try:
        plain = fetch(index.store, named, index.identity_key)
        if isinstance(named, SegmentEntry) and named.partition.topic == EVENTS:
            return "", dict(_sealed_in(named, plain))
    except (LostData, Refused) as error:
        return error.message, {}
    return "", {}


def _sealed_in(entry: SegmentEntry, plain: bytes) -> Iterator[tuple[str, str]]:
    blocks = read_blocks(plain, entry.key, entry.first)
    for records in contiguous(blocks, entry.first, entry.stop, entry.key):
        for event in decode_events([record.value for record in records]):
            if isinstance(event, Event) and event.payload[0] == SEALED:
                yield event.payload[1]["key_id"], event.stream


def _patient_keys(place: Home, identity: Identity, found: Rehearsal) -> None:
    """The backup holds every key that sealed anything, and every one that stands here."""
    back = MemoryKeys()
    try:
        restored = place.key_backup().restore(back, identity)
        with closing(place.patient_keys()) as here:
            kept = {key.id: key.secret for key in here.changes(0).keys}
    except Unavailable as error:
        found.open.append(f"patients' keys: {error}")
        return
    except (LostData, Refused) as error:
        found.wrong.append(f"patients' keys: {error.message}")
        return
    standing = kept.keys()
    held = {key.id for key in back.changes(0).keys}
    found.key_backups, found.keys = restored.backups, len(held)
    if restored.refused:
        found.open.append(f"patients' keys: {restored.refused}")
    found.wrong += [f"the backup of keys {key} does not open" for key in restored.damaged]
    lost = Counter(stream for key_id, stream in found.sealed.items() if key_id not in held)
    if lost:
        found.wrong.append(f"the events of {len(lost):,} patients are sealed under keys that no backup holds")
    if other := [i for i in standing & held if kept[i] is not None and back.find(i) != kept[i]]:
        found.wrong.append(f"{len(other):,} keys that stand here are destroyed or others in their backup")
    if waiting := standing - held - found.sealed.keys():
        found.open.append(
            f"{len(waiting):,} keys of patients are not backed up yet: 'rekam replicate --once', then check again"
        )
