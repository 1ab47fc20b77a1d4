"""Who outside the archive vouches for its newest checkpoint. Pure.

An archive proves that it was not changed since somebody else saw it, and never that nothing newer was taken away: a
state from last week is as well signed as today's. So a note that was kept elsewhere must tell how far it goes. Another
way to be vouched for is a cosignature on the newest note itself (`Cosigned`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from events.errors import BadInput, Corrupt
from replicator.auditing.findings import Findings, What
from replicator.auditing.history import History
from replicator.note import TreeHead, parse_head
from replicator.trust import Keyring

Cosigned: TypeAlias = Callable[[bytes], str | None]
"""The newest note -> the name of a witness that cosigned it, whose signature was verified; None where none did."""


def by_nobody(_: bytes) -> str | None:
    return None


class Outside(NamedTuple):
    """A note that was kept outside the archive."""

    name: str
    note: bytes


class Outsider(NamedTuple):
    """The same, its signature verified."""

    name: str
    signed: TreeHead


def verified_outside(notes: Sequence[Outside], keys: Keyring, reasons: list[str]) -> list[Outsider]:
    """Those that say something; why others do not goes to `reasons`."""
    found = []
    for outside in notes:
        try:
            signed = parse_head(keys.open(outside.note, outside.name)[0], outside.name)
        except (Corrupt, BadInput) as error:
            reasons.append(error.message)
            continue
        found.append(Outsider(outside.name, signed))
    return found


@dataclass
class Attestation:
    """How far others vouch for the archive."""

    by: list[str] = field(default_factory=list)
    checkpoint: int = 0
    """The newest one that anybody vouches for."""


def attest(
    history: History, outsiders: Sequence[Outsider], cosigned: Cosigned, findings: Findings
) -> Attestation:
    """Compares the archive with what was seen of it elsewhere."""
    result = Attestation()
    size = history.signed.size if history.signed else 0
    for name, seen in outsiders:
        root = history.roots.get(seen.size)
        if history.signed is not None and seen.origin != history.signed.origin:
            findings.add(What.REPLACED, "archive.json", f"{name} is of another archive")
        elif seen.size > size:
            findings.add(
                What.ROLLED_BACK,
                f"checkpoints behind number {history.head.n}",
                f"{name} signs {seen.size} leaves, and the newest checkpoint {size}",
            )
        elif root is None or root.root != seen.root:
            findings.add(
                What.FORKED, "checkpoints", f"the tree of {seen.size} leaves that {name} signs is not theirs"
            )
        else:
            result.by.append(name)
            result.checkpoint = max(result.checkpoint, root.n)
    witness = cosigned(history.head.note) if history.head.note else None
    if witness is not None:
        result.by.append(witness)
        result.checkpoint = history.head.n
    return result


def reasons_left(history: History, attestation: Attestation, key_given: bool) -> list[str]:
    """Why the archive is not attested whole."""
    if not key_given:
        return ["no verification key was given: take the one on the printed sheet, with --key"]
    if not history.head.n or attestation.checkpoint == history.head.n:
        return []
    if not attestation.checkpoint:
        return [f"nobody outside the archive attests checkpoint {history.head.n}: give a note with --since"]
    return [
        f"attested up to checkpoint {attestation.checkpoint}: "
        f"nobody outside the archive attests those up to {history.head.n}"
    ]
