"""What says that an archive's keys changed: its objects, written and read. docs/archive-format.md fixes the format.

Both kinds of entry take effect behind the checkpoint that names them: that one is still signed with the earlier key,
and what it ships is still encrypted to the earlier recipients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from events.errors import Corrupt
from replicator.archive import Archive, ArchiveIndex
from replicator.canonical import canonical, parse_canonical
from replicator.encryption import Recipients
from replicator.entries import RecipientsEntry, SignerEntry
from replicator.fetching import fetch
from replicator.manifest import FORMAT
from replicator.trust import SIGNERS, Handover, parse_handover

RECIPIENTS = "recipients/"


@dataclass(frozen=True)
class Changed:
    """Who changed to whom objects are encrypted."""

    time: int
    """Milliseconds UTC."""
    actor: Mapping[str, str]
    reason: str
    recipients: tuple[str, ...]


def recipients_key(digest: str) -> str:
    return f"{RECIPIENTS}{digest}.json"


def signer_key(digest: str) -> str:
    return f"{SIGNERS}{digest}.note"


def add_recipients(archive: Archive, changed: Changed) -> RecipientsEntry:
    """Stores the object; it counts behind the checkpoint that names it. Raises BadConfiguration."""
    texts = list(Recipients(changed.recipients).texts)
    told = {
        "format": FORMAT,
        "time": changed.time,
        "actor": dict(changed.actor),
        "reason": changed.reason,
        "recipients": texts,
    }
    return archive.add_plain(
        "recipients",
        lambda digest, _: recipients_key(digest),
        canonical(told),
        RecipientsEntry,
        recipients=texts,
    )


def add_signer(archive: Archive, handover: Handover) -> SignerEntry:
    """Stores the statement; the later key is in force behind the checkpoint that names it."""
    return archive.add_plain(
        "signer",
        lambda digest, _: signer_key(digest),
        handover.note,
        SignerEntry,
        previous=str(handover.previous),
        verifier=str(handover.verifier),
    )


def parse_recipients(data: bytes, where: str) -> Changed:
    """Raises Corrupt."""
    raw = parse_canonical(data, where)
    try:
        if raw["format"] != FORMAT:
            raise ValueError("another format")
        actor = {str(name): str(value) for name, value in raw["actor"].items()}
        texts = tuple(str(one) for one in raw["recipients"])
        return Changed(int(raw["time"]), actor, str(raw["reason"]), texts)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Corrupt(f"{where} does not say to whom objects are encrypted") from None


def says_what_its_entry_does(entry: RecipientsEntry | SignerEntry, data: bytes) -> bool:
    """Whether an object is what its entry tells: who reads entries alone would be misled else."""
    try:
        if isinstance(entry, RecipientsEntry):
            return parse_recipients(data, entry.key).recipients == entry.recipients
        found = parse_handover(data, entry.key)
    except Corrupt:
        return False
    return (found.previous, found.verifier) == (entry.previous, entry.verifier)


def read_rotations(index: ArchiveIndex) -> list[Changed | Handover]:
    """Every change of an archive's keys, in commit order. Raises as `fetching.fetch`."""
    found: list[Changed | Handover] = []
    for entry in index.entries:
        if isinstance(entry, RecipientsEntry):
            found.append(parse_recipients(fetch(index.store, entry, None), entry.key))
        elif isinstance(entry, SignerEntry):
            found.append(parse_handover(fetch(index.store, entry, None), entry.key))
    return found


def statements_of(index: ArchiveIndex) -> Sequence[str]:
    """The statements that lead to the key in force, as they are stored: for proofs that are checked offline."""
    return [one.note.decode() for one in read_rotations(index) if isinstance(one, Handover)]
