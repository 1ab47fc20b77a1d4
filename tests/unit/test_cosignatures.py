"""Cosignatures: a checkpoint that real witnesses cosigned, a vector made by other code, and what must not pass."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from events.errors import BadConfiguration, BadInput, Corrupt
from replicator.note import Signer, TreeHead, head_text, open_note, sign_note
from replicator.witnessing.cosignature import (
    MAX_SECONDS,
    Cosigner,
    WitnessKey,
    attested_by_witness,
    cosignature_lines,
    cosigned,
)

# A checkpoint of a public log, as four public test witnesses cosigned it.
PUBLIC_TEXT = (
    "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n"
)
LOG_LINE = (
    "— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8E"
    "i59RA23oHP7Ry1k3ZFWwQ=\n"
)
LINES = {
    "transparency.dev/DEV:witness-little-garden": (
        "— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4"
        "AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n"
    ),
    "witness1.smartit.nu/witness1": (
        "— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJ"
        "bqmNWVuE0tgh0XwzdZsDsUAQ==\n"
    ),
    "remora.n621.de": (
        "— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxt"
        "qB0DrAWfBw==\n"
    ),
    "witness.stagemole.eu": (
        "— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7c"
        "UiOvKFYe/TmN9DAg==\n"
    ),
}
PUBLIC_KEYS = {
    "transparency.dev/DEV:witness-little-garden": "2b6eb0ec483503544cde4e8fc1ce6d1921db21dffccc186865f808f7625443cc",
    "witness1.smartit.nu/witness1": "f4855a0f46e8a3e23bb40faf260ee57ab8a18249fa402f2ca2d28a60e1a3130e",
    "remora.n621.de": "ebcdeb78e7fdb2ef9227b2c1ef11e94600b55b4d6d9a57877e31ee89e59adc36",
    "witness.stagemole.eu": "4a921b7caef58ae670cdc11ef4184f1c058f7b9259a9107a969f69fa54aa496f",
}
PUBLIC_NOTE = (PUBLIC_TEXT + "\n" + LOG_LINE + "".join(LINES.values())).encode()
REMORA = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
STAGEMOLE = "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv"
PUBLIC_SECONDS = 0x6A122120

notary, other = Cosigner("notary.example/1", b"w" * 32), Cosigner("notary.example/2", b"x" * 32)
clinic = Signer("rekam/a", b"1" * 32)
TEXT = head_text(TreeHead("rekam/a/b", 12, b"r" * 32))
NOTE = sign_note(TEXT, [clinic])


@pytest.mark.parametrize("name", PUBLIC_KEYS)
def test_what_real_witnesses_cosigned(name: str) -> None:
    key = WitnessKey(name, bytes.fromhex(PUBLIC_KEYS[name]))
    found = cosigned(PUBLIC_NOTE, [key])
    assert found.text.decode() == PUBLIC_TEXT
    assert found.times == {name: PUBLIC_SECONDS}
    with pytest.raises(Corrupt, match="does not verify"):
        cosigned(PUBLIC_NOTE.replace(b"1432088532", b"1432088533"), [key])


def test_the_text_form_of_a_real_witnesss_key() -> None:
    for text in (REMORA, STAGEMOLE):
        key = WitnessKey.parse(text)
        assert str(key) == text
        assert key.public.hex() == PUBLIC_KEYS[key.name]


def test_a_vector_made_without_our_code() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
    public = private.public_key().public_bytes_raw()
    number = hashlib.sha256(b"notary.example/1\n\x04" + public).digest()[:4]
    signature = private.sign(b"cosignature/v1\ntime 1679315147\n" + TEXT)
    raw = number + (1679315147).to_bytes(8, "big") + signature
    line = f"— notary.example/1 {base64.b64encode(raw).decode()}\n".encode()
    assert notary.cosign(TEXT, 1679315147) == line
    assert (
        str(notary.key) == f"notary.example/1+{number.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"
    )


def test_every_changed_byte_of_a_cosigned_note_shows() -> None:
    note = TEXT + b"\n" + notary.cosign(TEXT, 1)
    assert cosigned(note, [notary.key]).times == {"notary.example/1": 1}
    for at in range(len(note)):
        changed = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        try:
            assert not cosigned(changed, [notary.key]).times, at  # another key's name: ignored
        except Corrupt:
            continue


def test_a_cosignature_is_no_signature_of_a_log_and_the_other_way_round() -> None:
    same = Signer("notary.example/1", b"w" * 32)
    with pytest.raises(Corrupt, match="no key that is trusted"):
        open_note(TEXT + b"\n" + notary.cosign(TEXT, 1), [same.verifier])
    assert not cosigned(sign_note(TEXT, [same]), [notary.key]).times
    assert notary.key.id != same.verifier.id
    with pytest.raises(BadConfiguration):
        WitnessKey.parse(str(same.verifier))
    with pytest.raises(BadConfiguration):
        Cosigner.parse(same.secret_text())


def test_times_that_cannot_be() -> None:
    assert notary.cosign(TEXT, MAX_SECONDS)
    for seconds in (-1, MAX_SECONDS + 1):
        with pytest.raises(BadInput):
            notary.cosign(TEXT, seconds)
    assert notary.key.time_of(b"\xff" * 72, TEXT) is None
    assert notary.key.time_of(b"", TEXT) is None


def test_secrets_come_back_and_are_not_shown_where_they_are_damaged() -> None:
    secret = notary.secret_text()
    assert Cosigner.parse(secret).key == notary.key
    for damaged in ("", secret[:-4], secret.replace("+notary", "+votary"), str(notary.key)):
        with pytest.raises(BadConfiguration) as told:
            Cosigner.parse(damaged)
        assert secret[-30:-4] not in str(told.value)


def test_what_is_attested_is_exactly_the_checkpoint_that_was_cosigned() -> None:
    note = NOTE + notary.cosign(TEXT, 5)
    later = NOTE + notary.cosign(TEXT, 9) + other.cosign(TEXT, 7)
    known = [notary.key, other.key]
    assert attested_by_witness(TEXT, [note], known) == {"notary.example/1": 5}
    assert attested_by_witness(TEXT, [note, later, b"damage"], known) == {
        "notary.example/1": 9,
        "notary.example/2": 7,
    }
    assert attested_by_witness(TEXT, [note], [other.key]) == {}
    assert attested_by_witness(TEXT.replace(b"12", b"13"), [note], known) == {}
    assert attested_by_witness(TEXT, [NOTE], known) == {}
    forged = NOTE + notary.cosign(TEXT.replace(b"12", b"13"), 5)
    assert attested_by_witness(TEXT, [forged], known) == {}


def test_of_an_answer_only_the_witnesss_own_lines_are_taken() -> None:
    line = notary.cosign(TEXT, 5)
    assert cosignature_lines(other.cosign(TEXT, 5) + line, TEXT, notary.key, "w") == line
    for answer in (b"", b"ok\n", other.cosign(TEXT, 5), line[:-1], notary.cosign(b"else\n", 5), b"\xff\n"):
        with pytest.raises(Corrupt):
            cosignature_lines(answer, TEXT, notary.key, "w")
