"""Proofs that an earlier tree of an archive is a prefix of a later one (RFC 6962, section 2.1.2), in a file.

The file holds both notes as they were signed and O(log n) hashes: whoever has the key on the sheet checks it offline.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from events.errors import ArchiveDiverged, BadInput, Corrupt
from replicator import merkle
from replicator.auditing.report import Checked
from replicator.canonical import canonical, parse_canonical
from replicator.checkpoints import checkpoints_after, leaves_of
from replicator.config import read_config
from replicator.manifest import config_leaf
from replicator.note import SignedHead, TreeHead, Verifier, parse_head
from replicator.outcome import Outcome
from replicator.stores import ObjectReader
from replicator.trust import Keyring, carried, read_handovers

KIND = "rekam consistency proof"


class Leaves:
    """The hashes of all leaves of an archive's tree, and the note of each checkpoint: 32 bytes a leaf."""

    def __init__(self, store: ObjectReader, verifiers: Iterable[Verifier]) -> None:
        """Reads every checkpoint. Raises Corrupt, ArchiveGap, ArchiveDiverged, Refused, StoreUnavailable."""
        config, data = read_config(store)
        self.hashes = [config_leaf(data)]
        self.keys = Keyring(verifiers, partial(read_handovers, store))
        self.notes: list[tuple[bytes, SignedHead]] = []
        tree = merkle.Frontier()
        tree.append(self.hashes[0])
        for read in checkpoints_after(store, 0, config.origin, self.keys):
            _, new = leaves_of(read)
            for leaf in new:
                tree.append(leaf)
            self.hashes += new
            if (tree.size, tree.root()) != (read.signed.size, read.signed.root):
                raise ArchiveDiverged(
                    f"checkpoint {read.n} signs another tree than the archive's objects give",
                    "look with 'rekam audit verify'",
                )
            self.notes.append((read.note, read.signed))

    def note(self, n: int) -> bytes:
        """Raises BadInput where there is no such checkpoint."""
        if not 1 <= n <= len(self.notes):
            raise BadInput(f"the archive holds no checkpoint {n}", f"it holds 1 to {len(self.notes)}")
        return self.notes[n - 1][0]


def prove(leaves: Leaves, first: bytes, second: bytes) -> bytes:
    """The file. Raises ArchiveDiverged where a note is not of this archive's tree, Corrupt, BadInput."""
    old, new = _heads(leaves.keys, first, second)
    if old.size > new.size:
        raise BadInput("the first checkpoint is newer than the second", "name them the other way round")
    for head in (old, new):
        known = head.size <= len(leaves.hashes) and merkle.root(leaves.hashes[: head.size]) == head.root
        if not known:
            raise ArchiveDiverged(
                f"no tree of {head.size} leaves of this archive is the one that this note signs",
                "the archive was rolled back or rewritten, or the note is of another one",
            )
    signers = [handover.note.decode() for handover in leaves.keys.handovers()]
    proof = merkle.consistency_proof(leaves.hashes[: new.size], old.size)
    return (
        canonical(
            {
                "kind": KIND,
                "first": first.decode(),
                "second": second.decode(),
                "proof": [step.hex() for step in proof],
                **({"signers": signers} if signers else {}),
            }
        )
        + b"\n"
    )


def _heads(keys: Keyring, first: bytes, second: bytes) -> tuple[TreeHead, TreeHead]:
    """Raises Corrupt where a note is not signed as it must be: the second by no key from before the one given."""
    one, two = "the first note", "the second note"
    return parse_head(keys.open(first, one)[0], one), parse_head(keys.open_newest(second, two)[0], two)


def check_consistency(data: bytes, verifier: Verifier, where: str) -> Checked:
    """Raises BadInput where it is no proof."""
    try:
        told = parse_canonical(data.removesuffix(b"\n"), where)
        if told["kind"] != KIND:
            raise ValueError
        proof = [bytes.fromhex(step) for step in told["proof"]]
        first, second = told["first"].encode(), told["second"].encode()
        exact = [step.hex() for step in proof] == told["proof"] and set(told) - {"signers"} == {
            *("kind", "first", "second", "proof"),
        }
        signers = [str(statement) for statement in told.get("signers", ())]
    except (Corrupt, KeyError, TypeError, ValueError, AttributeError):
        raise BadInput(f"{where} is not a proof of consistency") from None
    try:
        old, new = _heads(carried(verifier, signers), first, second)
    except Corrupt as error:
        return Checked(Outcome.INVALID, (error.message,), told)
    shown = {"origin": new.origin, "first_leaves": old.size, "second_leaves": new.size}
    fits = old.origin == new.origin and merkle.consistent(old.size, old.root, new.size, new.root, proof)
    if not exact or not fits:
        return Checked(Outcome.INVALID, ("the second tree does not go on from the first",), shown)
    return Checked(Outcome.OK, (), shown)


def note_or_number(given: str) -> int | bytes:
    """A checkpoint's number, or the bytes of a note's file. Raises BadInput."""
    if given.isascii() and given.isdigit():
        return int(given)
    try:
        return Path(given).read_bytes()
    except OSError as error:
        raise BadInput(
            f"{given} cannot be read: {error.strerror}", "give a checkpoint's number or a note"
        ) from None
