"""Keys that are rotated at any time: whoever has any sheet reads the same, and no retired key makes another history."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import LostData
from replicator.archive import Archive, open_archive
from replicator.auditing.attesting import Outside
from replicator.auditing.verifying import Scope, verify
from replicator.encryption import Identity, new_identity
from replicator.manifest import note_key
from replicator.merging import HOUR
from replicator.note import Signer, split_note
from replicator.outcome import Outcome
from replicator.upkeep import upkeep, upkeep_due
from tests.archives import IDENTITY_TEXT as FIRST_IDENTITY
from tests.archives import RECIPIENT, SIGNER, World, everything, logged
from tests.examples import examples
from tests.rotated import change_recipients, rotate
from tests.tampering import copy_of, newest_note

KEYS = [SIGNER, *(Signer(SIGNER.verifier.name, bytes([n]) * 32) for n in range(50, 60))]
OTHERS = [new_identity() for _ in range(3)]
EVERY_IDENTITY = Identity("\n".join([FIRST_IDENTITY, *(text for text, _ in OTHERS)]))
RECIPIENTS = [RECIPIENT, *(recipient for _, recipient in OTHERS)]
STEPS = st.one_of(
    st.sampled_from(["ship", "rotate", "hour"]),
    st.sets(st.sampled_from(RECIPIENTS), min_size=1, max_size=2).map(sorted),
)


@dataclass
class Life:
    """A clinic whose keys are rotated, and what is true of it."""

    world: World = field(default_factory=World)
    retired: list[int] = field(default_factory=list)
    """The last checkpoint of each key but the one in force."""
    recipients: list[str] = field(default_factory=lambda: [RECIPIENT])

    @property
    def key(self) -> Signer:
        return KEYS[len(self.retired)]

    def at(self, n: int) -> Signer:
        """The key that signs checkpoint n."""
        return KEYS[sum(n > last for last in self.retired)]

    def live(self, step: str | list[str]) -> None:
        self.world.write(4)
        if step == "rotate":
            self.retired.append(rotate(self.world, self.key, KEYS[len(self.retired) + 1]))
            self.world.ship()
        elif step == "hour":
            self._upkeep()
        elif step == "ship":
            self.world.ship()
        else:
            change_recipients(self.world, list(step))
            self.recipients = list(step)

    def _upkeep(self) -> None:
        self.world.clock.now += HOUR
        self.world.ship()
        index = self.open(self.key)
        entries = upkeep(self.world.log, self.world.archive, index) if upkeep_due(index) else []
        self.world.clock.now += 1
        self.world.shipper().ship_once(entries)

    def open(self, sheet: Signer, store=None, **more):
        return open_archive(store or self.world.store, EVERY_IDENTITY, verifiers=[sheet.verifier], **more)


def lived(steps) -> Life:
    life = Life()
    life.live("ship")
    for step in steps:
        life.live(step)
    return life


@settings(max_examples=examples(60))
@given(steps=st.lists(STEPS, max_size=8))
def test_any_sheet_that_was_ever_printed_reads_and_proves_the_same(steps):
    life = lived(steps)
    store, note = life.world.store, newest_note(life.world.store)
    for sheet in KEYS[: len(life.retired) + 1]:
        for whole in (True, False):
            index = life.open(sheet, whole=whole, seen=note)
            assert everything(index) == logged(life.world.log, index.end())
            assert index.head.signer == life.key.verifier
            assert sorted(index.recipients) == sorted(life.recipients)
        scope = Scope(verifiers=[sheet.verifier], outside=[Outside("the kept note", note)])
        found = verify(lambda: (store, None), scope)
        assert found.outcome is Outcome.OK, (found.findings.kept, found.reasons)
    for n in range(1, index.head.n + 1):
        (signature,) = split_note(store.get(note_key(n)))[1]
        assert signature.key_id == life.at(n).verifier.id


@settings(max_examples=examples(60))
@given(steps=st.lists(STEPS, max_size=6), draw=st.data())
def test_no_retired_key_makes_a_history_that_the_sheet_of_its_successors_believes(steps, draw):
    life = lived(["rotate", *steps])
    newest = life.world.archive.head().n
    which = draw.draw(st.integers(0, len(life.retired) - 1))
    stolen, cut = KEYS[which], draw.draw(st.integers(1, newest))
    store = copy_of(life.world.store)
    for stored in list(store.list("")):
        part = stored.key.split("/")
        if part[0] == "summaries" or (
            part[0] == "checkpoints" and (part[1] == "merged" or int(part[1]) > cut)
        ):
            store.remove(stored.key)
    thief = World(store=store, log=life.world.log, clock=life.world.clock, drawn=100_000)
    thief.archive = Archive.open(store, stolen, lambda: KEYS)
    thief.archive.signer_for = lambda head: stolen  # type: ignore[method-assign]
    thief.write(3)
    thief.ship()
    goes_on = life.at(cut + 1) is stolen
    for number, sheet in enumerate(KEYS[: len(life.retired) + 1]):
        if goes_on and number <= which:
            continue  # to those this is the clinic's own key: only a note kept elsewhere tells
        with pytest.raises(LostData):
            life.open(sheet, store)
        scope = Scope(verifiers=[sheet.verifier])
        assert verify(lambda: (store, None), scope).outcome is Outcome.INVALID
