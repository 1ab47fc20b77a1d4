"""Which keys are trusted, given the one on the sheet and statements that keys made of each other. Pure."""

from itertools import permutations

import pytest

from events.errors import ArchiveDiverged, BadConfiguration, Corrupt
from replicator.note import Signer, UnknownSigner, sign_note
from replicator.trust import Keyring, carried, parse_handover, reach, write_handover
from tests.archives import SIGNER
from tests.rotated import ACTOR, SECOND, THIRD, handover

FORGER = Signer(SIGNER.verifier.name, b"f" * 32)
OTHER_CLINIC = Signer("rekam/other", b"o" * 32)
ONE, TWO, THREE, EVIL = (s.verifier for s in (SIGNER, SECOND, THIRD, FORGER))
FIRST, NEXT = handover(SIGNER, SECOND), handover(SECOND, THIRD)


def note_of(*signers):
    return sign_note(b"a note\n", signers)


def test_a_handover_says_what_was_written_and_is_signed_by_both_keys():
    assert parse_handover(FIRST.note, "it") == FIRST
    assert (FIRST.previous, FIRST.verifier, FIRST.actor, FIRST.reason) == (ONE, TWO, ACTOR, "a test")


@pytest.mark.parametrize("signers", [[SIGNER], [SECOND], [SIGNER, FORGER]])
def test_a_handover_that_one_of_both_keys_did_not_sign_says_nothing(signers):
    text = FIRST.note.partition(b"\n\n")[0] + b"\n"
    with pytest.raises(Corrupt):
        parse_handover(sign_note(text, signers), "it")


def test_any_edit_of_a_handover_shows():
    for at in range(len(FIRST.note)):
        changed = bytearray(FIRST.note)
        changed[at] ^= 1
        with pytest.raises(Corrupt):
            parse_handover(bytes(changed), "it")


@pytest.mark.parametrize("following", [SIGNER, OTHER_CLINIC])
def test_a_key_hands_over_to_another_one_of_its_clinic(following):
    with pytest.raises(BadConfiguration):
        write_handover(SIGNER, following, time=1, actor=ACTOR, reason="")


@pytest.mark.parametrize("statements", list(permutations([FIRST, NEXT, handover(FORGER, THIRD)])))
def test_trust_follows_the_statements_in_whatever_order_they_are_read(statements):
    honest = [s for s in statements if s.previous != EVIL]
    assert reach([ONE], honest) == ({ONE, TWO, THREE}, {ONE, TWO, THREE})
    assert reach([TWO], honest) == ({ONE, TWO, THREE}, {TWO, THREE})
    assert reach([THREE], honest) == ({ONE, TWO, THREE}, {THREE})
    assert reach([ONE], statements)[1] == {ONE, TWO, THREE}


def test_a_key_that_nobody_names_leads_nowhere():
    assert reach([ONE], [handover(FORGER, THIRD)]) == ({ONE}, {ONE})
    assert reach([EVIL], [FIRST, NEXT]) == ({EVIL}, {EVIL})


def test_statements_are_read_once_for_a_key_that_is_unknown_and_never_where_none_is():
    asked = []
    keys = Keyring([ONE], lambda: asked.append(1) or [FIRST.note])
    keys.open(note_of(SIGNER), "a note")
    assert not asked
    assert keys.open(note_of(SECOND), "a note") == (b"a note\n", (TWO,))
    for _ in range(3):
        with pytest.raises(UnknownSigner):
            keys.open(note_of(FORGER), "a note")
    assert len(asked) == 2


def test_the_newest_note_is_signed_by_the_key_on_the_sheet_or_by_one_that_follows_it():
    old, new = (carried(anchor, [FIRST.note.decode()]) for anchor in (ONE, TWO))
    for signer in (SIGNER, SECOND):
        old.refuse_retired(note_of(signer), "the newest")
    new.refuse_retired(note_of(SECOND), "the newest")
    assert new.open(note_of(SIGNER), "an older one")[1] == (ONE,)
    with pytest.raises(ArchiveDiverged, match="retired"):
        new.refuse_retired(note_of(SIGNER), "the newest")


def test_what_a_signed_checkpoint_names_is_followed_where_the_statement_is_lost():
    keys = Keyring([ONE])
    keys.follow(EVIL, THREE)
    keys.follow(ONE, TWO)
    assert keys.open(note_of(SECOND), "a note")[1] == (TWO,)
    with pytest.raises(UnknownSigner):
        keys.open(note_of(THIRD), "a note")


def test_a_statement_that_is_damaged_is_passed_over():
    keys = Keyring([ONE], lambda: [b"nothing", FIRST.note, FIRST.note[:-3]])
    assert keys.open(note_of(SECOND), "a note")[1] == (TWO,)
