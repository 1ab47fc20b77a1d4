"""Signed notes and checkpoints of a tree: C2SP signed-note and tlog-checkpoint, with Ed25519.

A note's text means nothing until a signature by a key that the reader brought along has been verified. Signatures by
unknown keys are ignored (witnesses); one by a known key that does not verify spoils the note. Which keys lead from the
one on the sheet to the one in force: trust.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.errors import BadConfiguration, BadInput, Corrupt
from replicator.merkle import HASH_BYTES

ED25519 = b"\x01"
MAX_NOTE_BYTES = 1024 * 1024
MAX_SIGNATURES = 64
_DASH = "\u2014 "
KEY_BYTES = 32


class UnknownSigner(Corrupt):
    """No key that is trusted signed a note."""


def key_id(name: str, public: bytes, kind: bytes = ED25519) -> bytes:
    """The four bytes that name a key beside its name."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def parse_key(text: str, kind: bytes) -> tuple[str, bytes]:
    """(name, public key) of a verification key of that kind, its id checked. Raises BadConfiguration."""
    name, _, rest = text.strip().partition("+")
    number, _, encoded = rest.partition("+")
    raw = decode64(encoded)
    if raw is None or raw[:1] != kind or len(raw) != 1 + KEY_BYTES:
        raise BadConfiguration("not a verification key", "it looks like <name>+<8 hex>+<base64>")
    check_name(name)
    if key_id(name, raw[1:], kind).hex() != number:
        raise BadConfiguration("the verification key is misspelled: its id does not fit", "copy it again")
    return name, raw[1:]


class Verifier:
    """A public key with its name; its text form is `<name>+<8 hex>+<base64>`."""

    __slots__ = ("id", "name", "public")

    def __init__(self, name: str, public: bytes) -> None:
        check_name(name)
        if len(public) != KEY_BYTES:
            raise BadConfiguration("an Ed25519 public key has 32 bytes")
        self.name, self.public, self.id = name, public, key_id(name, public)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verifier) and (self.name, self.public) == (other.name, other.public)

    def __hash__(self) -> int:
        return hash((self.name, self.public))

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    __repr__ = __str__

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Raises BadConfiguration."""
        return cls(*parse_key(text, ED25519))

    def verifies(self, signature: bytes, text: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A private key with its name; its text form, `PRIVATE+KEY+<name>+<8 hex>+<base64>`, never leaves `keys/`."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._private.public_key().public_bytes_raw())

    def sign(self, text: bytes) -> bytes:
        return self._private.sign(text)

    def secret_text(self) -> str:
        secret = base64.b64encode(ED25519 + self._private.private_bytes_raw()).decode()
        return f"PRIVATE+KEY+{self.verifier.name}+{self.verifier.id.hex()}+{secret}"

    @classmethod
    def parse(cls, text: str) -> Signer:
        """Raises BadConfiguration, without a word of the key."""
        parts = text.strip().split("+", 4)
        raw = decode64(parts[4]) if len(parts) == 5 and parts[:2] == ["PRIVATE", "KEY"] else None
        if raw is None or raw[:1] != ED25519 or len(raw) != 1 + KEY_BYTES:
            raise BadConfiguration("not a signing key", "it starts with PRIVATE+KEY+")
        signer = cls(parts[2], raw[1:])
        if signer.verifier.id.hex() != parts[3]:
            raise BadConfiguration(
                "the signing key is damaged: its id does not fit", "restore it from its copy"
            )
        return signer


class TreeHead(NamedTuple):
    """What a checkpoint says: which log, how many leaves, and their root."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class SignedHead:
    """A tree head whose note was verified, and the trusted keys that signed it: how equal two are is up to the tree."""

    origin: str
    size: int
    root: bytes
    by: tuple[Verifier, ...] = field(compare=False)


def head_text(head: TreeHead) -> bytes:
    """The note text of a tree head (tlog-checkpoint without extension lines)."""
    return f"{head.origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n".encode()


def parse_head(text: bytes, where: str = "note") -> TreeHead:
    """Raises Corrupt."""
    lines = text.decode().split("\n")
    if len(lines) >= 4 and lines[-1] == "" and all(lines[:-1]) and lines[1].isascii() and lines[1].isdigit():
        root = decode64(lines[2])
        if root is not None and len(root) == HASH_BYTES and str(int(lines[1])) == lines[1]:
            return TreeHead(lines[0], int(lines[1]), root)
    raise Corrupt(f"{where} is not a checkpoint of a tree", "three lines: origin, size, root")


def sign_note(text: bytes, signers: Iterable[Signer]) -> bytes:
    """The note: text, an empty line, a line for each signature. Raises BadInput where no note can hold the text."""
    if not text.endswith(b"\n") or any(byte < 0x20 and byte != 0x0A for byte in text):
        raise BadInput("a note's text ends in a newline and holds no control characters")
    lines = [signature_line(s.verifier.name, s.verifier.id, s.sign(text)) for s in signers]
    return text + b"\n" + b"".join(lines)


def signature_line(name: str, number: bytes, signature: bytes) -> bytes:
    """A signature as a note holds it; `number`: the key's id."""
    return f"{_DASH}{name} {base64.b64encode(number + signature).decode()}\n".encode()


def open_note(note: bytes, verifiers: Iterable[Verifier], where: str = "note") -> bytes:
    """The text, once a known key's signature on it has been verified. Raises Corrupt naming `where`."""
    return verified_by(note, verifiers, where)[0]


def verified_by(
    note: bytes, verifiers: Iterable[Verifier], where: str = "note"
) -> tuple[bytes, tuple[Verifier, ...]]:
    """The text, and the known keys that signed it: one at least. Raises UnknownSigner, Corrupt naming `where`."""
    text, signatures = split_note(note, where)
    known = {(v.name, v.id): v for v in verifiers}
    verified: list[Verifier] = []
    for name, number, signature in signatures:
        verifier = known.get((name, number))
        if verifier is None:
            continue
        if not verifier.verifies(signature, text):
            raise Corrupt(f"{where}: the signature of {name} does not verify", "its bytes were changed")
        verified.append(verifier)
    if not verified:
        raise UnknownSigner(
            f"{where} is signed by no key that is trusted here",
            "compare the verification key with the printed sheet",
        )
    return text, tuple(verified)


class Signature(NamedTuple):
    """A signature line of a note, verified by nobody yet."""

    name: str
    key_id: bytes
    signature: bytes


def split_note(note: bytes, where: str = "note") -> tuple[bytes, list[Signature]]:
    """The text, which nobody has verified, and its signatures. Raises Corrupt naming `where`."""
    text, lines = _split_lines(note, where)
    return text, [parse_signature(line, where) for line in lines]


def parse_signature(line: str, where: str) -> Signature:
    """Raises Corrupt naming `where`."""
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    raw = decode64(encoded)
    if not line.startswith(_DASH) or not name or raw is None or len(raw) < 5:
        raise Corrupt(f"{where} has a malformed signature line")
    return Signature(name, raw[:4], raw[4:])


def _split_lines(note: bytes, where: str) -> tuple[bytes, list[str]]:
    text, blank, rest = note.rpartition(b"\n\n")
    try:
        lines = rest.decode().split("\n")
        text.decode()
    except UnicodeDecodeError:
        raise Corrupt(f"{where} is not UTF-8") from None
    fits = blank and len(note) <= MAX_NOTE_BYTES and lines[-1] == "" and 1 < len(lines) <= MAX_SIGNATURES + 1
    if not fits or any(byte < 0x20 and byte != 0x0A for byte in note):
        raise Corrupt(f"{where} is not a signed note")
    return text + b"\n", lines[:-1]


def check_name(name: str) -> None:
    """Raises BadConfiguration for what no key can be called."""
    if not name or "+" in name or any(c.isspace() for c in name):
        raise BadConfiguration("a key's name holds no spaces and no plus, and is not empty")


def decode64(text: str) -> bytes | None:
    """None unless `text` is the one way to write its bytes (unused bits may hide a change)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
