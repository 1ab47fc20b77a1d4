"""Signed notes: the vectors of the specification and of its reference implementation, and what must not open."""

import pytest

from events.errors import BadConfiguration, BadInput, Corrupt
from replicator.note import Signer, TreeHead, Verifier, head_text, open_note, parse_head, sign_note

GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SPEC_PUBLIC = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

ours, other = Signer("rekam/a", b"1" * 32), Signer("rekam/b", b"2" * 32)
TEXT = b"text\n"


def test_the_reference_implementations_note():
    signer = Signer.parse(GO_SECRET)
    assert str(signer.verifier) == GO_PUBLIC
    assert signer.secret_text() == GO_SECRET
    assert sign_note(GO_TEXT.encode(), [signer]).decode() == GO_NOTE
    assert open_note(GO_NOTE.encode(), [Verifier.parse(GO_PUBLIC)]).decode() == GO_TEXT


def test_the_specifications_note():
    text = open_note(SPEC_NOTE.encode(), [Verifier.parse(SPEC_PUBLIC)])
    assert text == b"This is an example message.\n"


def test_every_changed_byte_shows():
    note = sign_note(TEXT, [ours])
    for n in range(len(note)):
        for flip in (0x01, 0x80):
            changed = note[:n] + bytes([note[n] ^ flip]) + note[n + 1 :]
            with pytest.raises(Corrupt):
                open_note(changed, [ours.verifier])
    for n in range(len(note)):
        with pytest.raises(Corrupt):
            open_note(note[:n], [ours.verifier])


def test_unknown_signatures_are_ignored_but_one_known_is_needed():
    note = sign_note(TEXT, [other, ours])
    assert open_note(note, [ours.verifier]) == TEXT
    assert open_note(note, [other.verifier]) == TEXT
    with pytest.raises(Corrupt, match="no key that is trusted"):
        open_note(note, [Signer("rekam/a", b"3" * 32).verifier])
    with pytest.raises(Corrupt):
        open_note(note, [])


def test_one_wrong_signature_of_a_known_key_spoils_the_note():
    good, bad = sign_note(TEXT, [ours]), sign_note(b"else\n", [other])
    mixed = good + bad.partition(b"\n\n")[2]
    assert open_note(mixed, [ours.verifier]) == TEXT
    with pytest.raises(Corrupt, match="does not verify"):
        open_note(mixed, [ours.verifier, other.verifier])


@pytest.mark.parametrize("text", [b"no newline", b"", b"tab\there\n"])
def test_texts_that_no_note_can_hold(text):
    with pytest.raises(BadInput):
        sign_note(text, [ours])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b"])
def test_names_that_no_key_can_have(name):
    with pytest.raises(BadConfiguration):
        Signer(name, b"1" * 32)


@pytest.mark.parametrize(
    "text",
    ["", "x", GO_PUBLIC[:-4], GO_PUBLIC.replace("c74f", "c74e"), "a+00000000+AAAA", GO_SECRET],
)
def test_misspelled_verification_keys_are_refused(text):
    with pytest.raises(BadConfiguration):
        Verifier.parse(text)


def test_misspelled_signing_keys_are_refused_without_showing_them():
    for text in ("", GO_PUBLIC, GO_SECRET[:-4], GO_SECRET.replace("c74f", "c74e")):
        with pytest.raises(BadConfiguration) as told:
            Signer.parse(text)
        assert "AYEK" not in str(told.value)


def test_tree_heads():
    head = TreeHead("rekam/a/b", 12, b"r" * 32)
    assert parse_head(head_text(head)) == head
    assert parse_head(head_text(head) + b"an extension line\n") == head


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n01\ncmVr\n",
        "a\n-1\n{r}\n",
        "a\n1\nxx\n",
        "\n1\n{r}\n",
        "a\n\u0661\n{r}\n",
        "a\n1\n{r}",
    ],
)
def test_what_is_no_tree_head(text):
    root = "A" * 43 + "="
    with pytest.raises(Corrupt):
        parse_head(text.format(r=root).encode())
