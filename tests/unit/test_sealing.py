"""One event sealed and opened: what is bound to it, what it costs, what does not open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given

from events.catalogue import SEALED, current_fingerprint
from events.codec import decode_event, decode_payload, encode_event, encode_payload
from events.envelope import Event
from events.errors import BadInput, UnknownSchema
from events.patient_keys import ERASED, Erased, Mark, MemoryKeys
from events.sealing import IN_THE_CLEAR, NOTHING, Opener, Sealer, bound, seal, unseal
from events.sqlite_keys import SqliteKeys
from tests.log_histories import ACTOR, note, reading
from tests.payload_strategies import payloads

STREAM = "patient-" + "a" * 32


def event(stream: str = STREAM, payload: object = None, version: int = 1) -> Event:
    made = payload or reading("r1", "72")
    return Event(b"e" * 16, None, stream, version, None, 1, 2, ACTOR, None, None, made)  # type: ignore[arg-type]


CIPHER = AESGCM(bytes(range(32)))


@given(payloads())
def test_every_payload_comes_back(payload: tuple[str, dict[str, object]]) -> None:
    sealed = decode_event(encode_event(seal(event(payload=payload), "k", CIPHER)))
    assert sealed.payload[0] == SEALED
    assert sealed.payload[1]["type"] == payload[0]
    assert unseal(sealed, CIPHER) == decode_event(encode_event(event(payload=payload))).payload


@given(payloads())
def test_payloads_by_themselves_come_back(payload: tuple[str, dict[str, object]]) -> None:
    whole = decode_event(encode_event(event(payload=payload))).payload
    assert decode_payload(payload[0], current_fingerprint(), encode_payload(payload)) == whole


CHANGES: list[Callable[[Event], Event]] = [
    lambda e: e._replace(event_id=b"f" * 16),
    lambda e: e._replace(stream="patient-" + "b" * 32),
    lambda e: e._replace(version=2),
    lambda e: _with(e, type="id.rekam.care.NoteWritten"),
    lambda e: _with(e, fingerprint=bytes(8)),
    lambda e: _with(e, nonce=bytes(12)),
    lambda e: _with(e, nonce=b""),
    lambda e: _with(e, ciphertext=e.payload[1]["ciphertext"][:-1]),
    lambda e: _with(e, ciphertext=b""),
    lambda e: _with(
        e, ciphertext=bytes([e.payload[1]["ciphertext"][0] ^ 1]) + e.payload[1]["ciphertext"][1:]
    ),
]


def _with(event: Event, **fields: object) -> Event:
    return event._replace(payload=(SEALED, {**event.payload[1], **fields}))


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_moved_or_changed_does_not_open(change: Callable[[Event], Event]) -> None:
    sealed = seal(event(), "k", CIPHER)
    assert unseal(sealed, CIPHER) is not None
    assert unseal(change(sealed), CIPHER) is None
    assert unseal(sealed, AESGCM(bytes(32))) is None


def test_what_was_sealed_wrongly_stays_sealed_and_stops_nobody() -> None:
    """By whoever had the key: an unknown kind of content, no payload, a frame that claims to be huge."""
    import zstandard

    fp = current_fingerprint()
    kind = "id.rekam.care.NoteWritten"
    bomb = zstandard.ZstdCompressor().compress(bytes(9 * 1024 * 1024))
    for content in (b"", b"\2abc", b"\0", b"\1not a frame", b"\0" + b"\xff" * 30, b"\1" + bomb):
        sealed = CIPHER.encrypt(bytes(12), content, bound(event(), kind, fp))
        fields = {"type": kind, "fingerprint": fp, "key_id": "k", "nonce": bytes(12), "ciphertext": sealed}
        assert unseal(event(payload=(SEALED, fields)), CIPHER) is None


def test_parts_of_what_is_bound_cannot_be_shifted() -> None:
    one, other = event("patient-1", version=12), event("patient-11", version=2)
    assert bound(one, "a", b"b") != bound(other, "a", b"b")
    assert bound(one, "ab", b"c") != bound(one, "a", b"bc")


def test_what_is_larger_is_compressed_and_what_is_not_is_left() -> None:
    long = seal(event(payload=note("a", "teks " * 2000)), "k", CIPHER)
    assert len(long.payload[1]["ciphertext"]) < 500
    short = seal(event(payload=note("a", "")), "k", CIPHER)
    assert len(short.payload[1]["ciphertext"]) == 17 + len(encode_payload(note("a", "")))


def test_unknown_payloads_are_refused() -> None:
    with pytest.raises(UnknownSchema):
        encode_payload(("id.rekam.Nothing", {}))
    with pytest.raises(BadInput):
        encode_payload(("id.rekam.care.NoteWritten", {"no": 1}))
    with pytest.raises(UnknownSchema):
        decode_payload(SEALED, current_fingerprint(), b"")


# -- writers and readers


def test_only_patients_payloads_are_sealed() -> None:
    keys = MemoryKeys()
    sealer = Sealer(keys, sealing=True)
    assert decode_event(sealer.encode(event())).payload[0] == SEALED
    clinic = event("clinic-1")
    assert sealer.encode(clinic) == encode_event(clinic)
    restricted = event(payload=("id.rekam.erasure.PatientRestricted", {"scope": "all"}))
    assert decode_event(sealer.encode(restricted)).payload[0] != SEALED
    off = Sealer(keys, sealing=False)
    assert off.encode(event()) == encode_event(event()) == IN_THE_CLEAR.encode(event())


def test_a_reader_opens_what_it_has_keys_for() -> None:
    keys = MemoryKeys()
    sealer, opener = Sealer(keys, sealing=True), Opener(keys)
    sealed = decode_event(sealer.encode(event()))
    assert opener(sealed) == event() == sealer.reveal(sealed)
    assert opener(event()) == event()  # what is in the clear stays readable beside
    other = Opener(stranger := MemoryKeys())
    assert other(sealed) == sealed
    other.refresh()
    assert stranger.missing() == {sealed.payload[1]["key_id"]: STREAM}


def test_an_erased_patient_is_nothing_to_readers_and_refused_to_writers() -> None:
    keys = MemoryKeys()
    sealer, opener = Sealer(keys, sealing=True), Opener(keys)
    sealed = decode_event(sealer.encode(event()))
    assert opener(sealed) == event()
    keys.destroy(STREAM, Mark(STREAM, ERASED, {"at": 1}))
    opener.refresh()
    for there in (sealed, event()):
        assert opener(there).payload == NOTHING
    erasure = event(
        payload=("id.rekam.erasure.PatientErased", {"key_id": None, "legal_basis": None, "reason": None})
    )
    assert opener(erasure) == erasure
    for sealing in (True, False):
        writer = Sealer(keys, sealing=sealing)
        writer.prepare([STREAM, "patient-b"])
        assert writer.refuses(STREAM)
        with pytest.raises(Erased):
            writer.encode(event())
        assert decode_event(writer.encode(erasure)) == erasure
        assert writer.encode(event("patient-b"))
    with pytest.raises(Erased):
        sealer.prepare([STREAM])
        sealer.encode(event())


def test_no_two_payloads_share_a_nonce() -> None:
    sealer = Sealer(MemoryKeys(), sealing=True)
    found = {decode_event(sealer.encode(event())).payload[1]["nonce"] for _ in range(50)}
    assert len(found) == 50


def test_a_writer_that_runs_on_seals_under_keys_of_the_store_that_lies_there_now(tmp_path: Path) -> None:
    """The one that it opened was lost before its key was backed up, and another put in its place."""
    file, wrapping = tmp_path / "patients.db", tmp_path / "wrapping.key"
    wrapping.write_text("11" * 32)
    with closing(SqliteKeys(file, wrapping)) as keys, closing(SqliteKeys(file, wrapping)) as new:
        sealer = Sealer(keys, sealing=True)
        sealer.prepare([STREAM])
        before = decode_event(sealer.encode(event())).payload[1]["key_id"]
        for path in tmp_path.glob("patients.db*"):
            path.rename(path.with_name("lost-" + path.name))
        new.make(["patient-" + "b" * 32])
        sealer.prepare([STREAM])
        after = decode_event(sealer.encode(event(version=2))).payload[1]["key_id"]
        assert new.find(before) is None
        assert new.find(after) is not None
