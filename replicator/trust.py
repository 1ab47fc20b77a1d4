"""Which keys an archive's notes may be signed with: those that lead from the key on the sheet to the one in force.

A key hands over to the next in a statement that both sign, the object of a `signer` entry. So trust goes along the
statements both ways: forward, because the earlier key names the later one; back, because the later one says whose place
it took. Backward trust is for notes of the time before alone: an archive's newest note must be signed by the key on the
sheet or by one that follows it, since whoever stole a retired key would show another history. That note's tree covers
all that is older, so whoever reads an archive up to it may take archive.json's word for the first key (a claim): where
a statement was lost, the rest is read still.

From when a key counts, no statement says: the checkpoint does that names it (`manifest.wrong_keys`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from events.errors import ArchiveDiverged, BadConfiguration, BadInput, Corrupt
from replicator.canonical import canonical, parse_canonical
from replicator.note import Signer, UnknownSigner, Verifier, sign_note, split_note, verified_by
from replicator.stores import NoSuchObject, ObjectReader

SIGNERS = "signers/"
KIND = "rekam signing key"
FORMAT = 1
RETIRED = "is signed with a key that was retired before the one given came into force"
UNTRUSTED = "is signed by no key that is trusted here"


@dataclass(frozen=True)
class Handover:
    """One key's word that another one signs from now on, signed by both."""

    time: int
    """Milliseconds UTC."""
    actor: Mapping[str, str]
    reason: str
    previous: Verifier
    verifier: Verifier
    note: bytes
    """As it is stored."""


def write_handover(
    previous: Signer, following: Signer, *, time: int, actor: Mapping[str, str], reason: str
) -> Handover:
    """`time`: milliseconds UTC. Raises BadConfiguration where the keys are not two of one clinic."""
    _refuse_unfit(previous.verifier, following.verifier)
    told = {
        "kind": KIND,
        "format": FORMAT,
        "time": time,
        "actor": dict(actor),
        "reason": reason,
        "previous": str(previous.verifier),
        "verifier": str(following.verifier),
    }
    note = sign_note(canonical(told) + b"\n", [previous, following])
    return Handover(time, dict(actor), reason, previous.verifier, following.verifier, note)


def parse_handover(note: bytes, where: str) -> Handover:
    """The statement, both signatures verified: who trusts one of the keys may trust the other. Raises Corrupt."""
    text, _ = split_note(note, where)
    raw = parse_canonical(text.removesuffix(b"\n"), where)
    try:
        if raw["kind"] != KIND or raw["format"] != FORMAT:
            raise ValueError("another kind")
        previous, verifier = Verifier.parse(raw["previous"]), Verifier.parse(raw["verifier"])
        _refuse_unfit(previous, verifier)
        actor = {str(name): str(value) for name, value in raw["actor"].items()}
        found = Handover(int(raw["time"]), actor, str(raw["reason"]), previous, verifier, note)
    except (KeyError, TypeError, ValueError, AttributeError, BadInput, BadConfiguration):
        raise Corrupt(f"{where} does not say which key follows which") from None
    if set(verified_by(note, [previous, verifier], where)[1]) != {previous, verifier}:
        raise Corrupt(f"{where} is not signed by both keys")
    return found


def _refuse_unfit(previous: Verifier, verifier: Verifier) -> None:
    if previous.name != verifier.name or previous == verifier:
        raise BadConfiguration("a key hands over to another one of the same clinic")


def read_handovers(store: ObjectReader) -> list[bytes]:
    """All statements that stand in an archive, named by a checkpoint or not. Raises StoreUnavailable."""
    found = []
    for stored in store.list(SIGNERS):
        with suppress(NoSuchObject):
            found.append(store.get(stored.key))
    return found


def reach(
    anchors: Iterable[Verifier], handovers: Iterable[Handover]
) -> tuple[frozenset[Verifier], frozenset[Verifier]]:
    """(all that the anchors lead to, those among them that no anchor took the place of)."""
    told = list(handovers)
    later = _closed(frozenset(anchors), [(h.previous, h.verifier) for h in told])
    return later | _closed(frozenset(anchors), [(h.verifier, h.previous) for h in told]), later


def _closed(keys: frozenset[Verifier], steps: list[tuple[Verifier, Verifier]]) -> frozenset[Verifier]:
    while more := {after for before, after in steps if before in keys} - keys:
        keys |= more
    return keys


def carried(anchor: Verifier, statements: Iterable[str]) -> Keyring:
    """The keys for a file that brings its statements along. Raises Corrupt where one of them is none: it was edited."""
    notes = [statement.encode() for statement in statements]
    for note in notes:
        parse_handover(note, "a statement about keys")
    return Keyring([anchor], lambda: notes)


class Keyring:
    """The keys that are trusted for one archive. Safe for several threads.

    Statements are read only once a note bears a key that is not known yet: an archive whose key never changed is asked
    for none.
    """

    def __init__(
        self, anchors: Iterable[Verifier], statements: Callable[[], Iterable[bytes]] = tuple
    ) -> None:
        """`anchors`: the keys on the sheet. `statements`: reads what may lead on from them."""
        self.anchors = tuple(anchors)
        self._statements = statements
        self._lock = threading.Lock()
        self._handovers: list[Handover] = []
        self._named: set[tuple[Verifier, Verifier]] = set()
        self._asked: set[tuple[str, bytes]] = set()
        self._trusted = self._later = frozenset(self.anchors)
        self._claimed: frozenset[Verifier] = frozenset()

    def __iter__(self) -> Iterator[Verifier]:
        return iter(self._trusted | self._claimed)

    def claim(self, verifier: Verifier) -> None:
        """Opens notes of this key too, for whoever asks `refuse_retired` or `in_force` of the newest afterwards."""
        with self._lock:
            self._claimed |= {verifier}
            self._reach()

    def open(self, note: bytes, where: str) -> tuple[bytes, tuple[Verifier, ...]]:
        """A note's text, and the trusted keys that signed it. Raises UnknownSigner, Corrupt, StoreUnavailable."""
        try:
            return verified_by(note, self, where)
        except UnknownSigner:
            self._learn(note)
        return verified_by(note, self, where)

    def _learn(self, note: bytes) -> None:
        """Reads the statements, once for each unknown key: one stands before the first note under it does."""
        with self._lock:
            unknown = {(name, number) for name, number, _ in split_note(note)[1]}
            if unknown <= self._asked:
                return
            self._read()
            self._asked |= unknown

    def handovers(self) -> list[Handover]:
        """Every statement that holds by itself, whoever it is about. Raises StoreUnavailable."""
        with self._lock:
            self._read()
            return list(self._handovers)

    def _read(self) -> None:
        found = []
        for statement in self._statements():
            with suppress(Corrupt):  # an auditor says what is wrong with it
                found.append(parse_handover(statement, "a statement about keys"))
        self._handovers = found
        self._reach()

    def _reach(self) -> None:
        trusted, later = reach(self.anchors, self._handovers)
        later = _closed(later, list(self._named))
        self._trusted, self._later = trusted | later, later
        self._claimed = _closed(self._claimed, list(self._named))

    def follow(self, previous: Verifier, verifier: Verifier) -> None:
        """A checkpoint that `previous` signed names `verifier`: as good as a statement that is missing."""
        with self._lock:
            self._named.add((previous, verifier))
            self._reach()

    def in_force(self, by: Iterable[Verifier]) -> bool:
        """Whether one of these is an anchor, or follows one."""
        return any(verifier in self._later for verifier in by)

    def refuse_retired(self, note: bytes, where: str) -> None:
        """Raises ArchiveDiverged where an archive's newest note is signed by keys from before the anchor alone, and
        UnknownSigner where nothing but a claim leads to them."""
        _, by = self.open(note, where)
        doubt = self.doubt(by)
        if doubt == UNTRUSTED:
            raise UnknownSigner(f"{where} {doubt}", "compare the verification key with the printed sheet")
        if doubt:
            hint = "the archive was rolled back, or somebody has the retired key: compare with another copy"
            raise ArchiveDiverged(f"{where} {doubt}", hint)

    def doubt(self, by: Collection[Verifier]) -> str:
        """Why a newest note that these keys signed is not to be believed; empty: it is. Raises StoreUnavailable."""
        if not self.in_force(by):
            self.handovers()  # they may lead there, and were not asked for while a claim was enough
        if self.in_force(by):
            return ""
        return RETIRED if self._trusted & set(by) else UNTRUSTED

    def open_newest(self, note: bytes, where: str) -> tuple[bytes, tuple[Verifier, ...]]:
        """As `open`, of a note that no key from before the anchor may have signed alone. Raises Corrupt."""
        text, by = self.open(note, where)
        if not self.in_force(by):
            raise Corrupt(
                f"{where} {RETIRED}",
                "check it with the sheet of its time, or have it made anew",
            )
        return text, by
