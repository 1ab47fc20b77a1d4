"""Cosignatures: a witness's word that a tree is the largest it has seen of an archive, and grew from all it saw before.

C2SP tlog-cosignature, `cosignature/v1`: Ed25519 over two lines (what this is, and the time) and the note's text. The
line in a note holds the key's id, the time (8 bytes, big-endian, POSIX seconds) and the signature. The key's type is
0x04, so that its id differs from that of the same key as a log's: one can never pass for the other.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.errors import BadConfiguration, BadInput, Corrupt
from replicator.note import (
    KEY_BYTES,
    check_name,
    decode64,
    key_id,
    parse_key,
    parse_signature,
    signature_line,
    split_note,
)

COSIGNATURE = b"\x04"
MAX_SECONDS = 2**63 - 1
_TIME = struct.Struct(">Q")
_SIGNATURE_BYTES = 64


def cosigned_message(text: bytes, seconds: int) -> bytes:
    """What a witness signs: `text` is the whole text of the note, `seconds` POSIX time."""
    return b"cosignature/v1\ntime %d\n" % seconds + text


class WitnessKey:
    """A witness's public key with its name; its text form is `<name>+<8 hex>+<base64>`."""

    __slots__ = ("id", "name", "public")

    def __init__(self, name: str, public: bytes) -> None:
        check_name(name)
        if len(public) != KEY_BYTES:
            raise BadConfiguration("an Ed25519 public key has 32 bytes")
        self.name, self.public, self.id = name, public, key_id(name, public, COSIGNATURE)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WitnessKey) and (self.name, self.public) == (other.name, other.public)

    def __hash__(self) -> int:
        return hash((self.name, self.public))

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(COSIGNATURE + self.public).decode()}"

    __repr__ = __str__

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Raises BadConfiguration."""
        return cls(*parse_key(text, COSIGNATURE))

    def time_of(self, signature: bytes, text: bytes) -> int | None:
        """The POSIX seconds at which the note's text was cosigned; None where this key did not sign it so."""
        if len(signature) != _TIME.size + _SIGNATURE_BYTES:
            return None
        (seconds,) = _TIME.unpack_from(signature)
        if seconds > MAX_SECONDS:
            return None
        try:
            key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(signature[_TIME.size :], cosigned_message(text, seconds))
        except (InvalidSignature, ValueError):
            return None
        return int(seconds)


class Cosigner:
    """A witness's private key; its text form never leaves the witness's folder."""

    __slots__ = ("_private", "key")

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = WitnessKey(name, self._private.public_key().public_bytes_raw())

    def cosign(self, text: bytes, seconds: int) -> bytes:
        """The signature line to add to the note. Raises BadInput for a time that cannot be written."""
        if not 0 <= seconds <= MAX_SECONDS:
            raise BadInput("a cosignature's time is between 0 and 2^63 - 1")
        signature = self._private.sign(cosigned_message(text, seconds))
        return signature_line(self.key.name, self.key.id, _TIME.pack(seconds) + signature)

    def secret_text(self) -> str:
        secret = base64.b64encode(COSIGNATURE + self._private.private_bytes_raw()).decode()
        return f"PRIVATE+KEY+{self.key.name}+{self.key.id.hex()}+{secret}"

    @classmethod
    def parse(cls, text: str) -> Cosigner:
        """Raises BadConfiguration, without a word of the key."""
        parts = text.strip().split("+", 4)
        raw = decode64(parts[4]) if len(parts) == 5 and parts[:2] == ["PRIVATE", "KEY"] else None
        if raw is None or raw[:1] != COSIGNATURE or len(raw) != 1 + KEY_BYTES:
            raise BadConfiguration("not a witness's signing key", "restore it from its copy")
        cosigner = cls(parts[2], raw[1:])
        if cosigner.key.id.hex() != parts[3]:
            raise BadConfiguration(
                "the signing key is damaged: its id does not fit", "restore it from its copy"
            )
        return cosigner


class Cosigned(NamedTuple):
    """A note's text and who of the known witnesses cosigned it, and when (POSIX seconds)."""

    text: bytes
    times: Mapping[str, int]


def cosigned(note: bytes, witnesses: Iterable[WitnessKey], where: str = "note") -> Cosigned:
    """What known witnesses say of a note; unknown signatures are ignored. Whether the clinic signed it is not asked.

    Raises Corrupt naming `where`: no note, or a known witness's cosignature that does not verify.
    """
    text, signatures = split_note(note, where)
    known = {(key.name, key.id): key for key in witnesses}
    times: dict[str, int] = {}
    for name, number, signature in signatures:
        key = known.get((name, number))
        if key is None:
            continue
        seconds = key.time_of(signature, text)
        if seconds is None:
            raise Corrupt(f"{where}: the cosignature of {name} does not verify", "its bytes were changed")
        times[name] = max(seconds, times.get(name, 0))
    return Cosigned(text, times)


def attested_by_witness(
    note_text: bytes, cosigned_notes: Iterable[bytes], witnesses: Iterable[WitnessKey]
) -> dict[str, int]:
    """Which witnesses attest exactly this checkpoint, and when they did (POSIX seconds): for whoever audits.

    `note_text` is the text of the archive's note, its signature verified already; `cosigned_notes` were got from the
    witnesses or kept by a home, not taken from the archive. One that is damaged, or is of another checkpoint, attests
    nothing.
    """
    known = list(witnesses)
    found: dict[str, int] = {}
    for note in cosigned_notes:
        try:
            text, times = cosigned(note, known)
        except Corrupt:
            continue
        if text == note_text:
            for name, seconds in times.items():
                found[name] = max(seconds, found.get(name, 0))
    return found


def cosignature_lines(answer: bytes, text: bytes, key: WitnessKey, where: str) -> bytes:
    """Of the lines that a witness answered with, those that are its cosignature on the text. Raises Corrupt."""
    try:
        lines = answer.decode().split("\n")
    except UnicodeDecodeError:
        raise Corrupt(f"{where}: the answer is not UTF-8") from None
    if lines.pop() != "":
        raise Corrupt(f"{where}: the answer does not end in a newline")
    kept = b""
    for line in lines:
        name, number, signature = parse_signature(line, where)
        if (name, number) == (key.name, key.id):
            if key.time_of(signature, text) is None:
                raise Corrupt(f"{where}: the cosignature does not verify", "is its key in rekam.toml right?")
            kept += line.encode() + b"\n"
    if not kept:
        raise Corrupt(
            f"{where}: the answer holds no cosignature of {key.name}", "is its key in rekam.toml right?"
        )
    return kept
