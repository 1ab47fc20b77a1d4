"""Attachments: the files of a patient's documents as blobs, sealed under the patient's key.

A blob is `RKB` 01, a byte that says how it is kept, 16 bytes that say whose it is, and the rest:

- 1, sealed: the id of the patient's key, a nonce of 12 bytes, and AES-256-GCM over what is packed. Keys for the cipher
  and for the nonce are derived from the patient's (HKDF-SHA256), so that they meet no payload's. The nonce is an HMAC
  over all that is sealed and authenticated: the same file of the same patient is the same blob, and is kept once,
  while nobody without the key sees that two patients have the same file. It is taken over what is packed, not over the
  file: another compressor's bytes must not meet the same nonce.
- 0, in the clear (where sealing is off): the first 16 bytes of a SHA-256 of the stream's name, and what is packed. So
  the same file of two patients is two blobs here too.

Packed is one byte and the file: as it is (0), or as one zstandard frame (1) where that is smaller. Authenticated with
it are the stream, the SHA-256 of the file and the id of the key: a blob that was moved to another patient, or put in
the place of another one, does not open.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from events.blobs import DOCUMENT_ATTACHED, BlobStore
from events.envelope import Payload
from events.errors import Corrupt, Refused, TooLarge
from events.patient_keys import ERASED, Key, KeyStore, refuse_erased
from events.sealing import AS_IS, COMPRESSED, NONCE_BYTES, PATIENT, packed

MAGIC = b"RKB\x01"
CLEAR, SEALED = b"\0", b"\1"
OWNER_BYTES = 16
_OWNER = len(MAGIC) + 1
HEAD_BYTES = _OWNER + OWNER_BYTES
"""How much of a blob says whose it is."""
MOST_BYTES = 256 * 1024 * 1024
"""The largest file that is ever taken or unpacked; what a clinic takes is a setting."""
_ABOUT = b"rekam attachment"


class NoKey(Refused):
    """The key that opens a blob is not here."""


class Kept(NamedTuple):
    """A file that is kept as a blob."""

    blob_sha256: bytes
    content_sha256: bytes
    size_bytes: int
    """Of the file."""


def files_of(payload: Payload) -> list[Kept]:
    """The files that an event names, where it is not sealed (any more)."""
    kind, fields = payload
    origin = fields.get("origin")
    found = [*origin["files"]] if origin else []
    if kind == DOCUMENT_ATTACHED and fields["blob_sha256"] is not None:
        found.append(fields)
    return list({Kept(f["blob_sha256"], f["content_sha256"], f["size_bytes"]): None for f in found})


def seal_blob(content: bytes, stream: str, key: Key) -> bytes:
    """The blob of a patient's file: the same again is the same."""
    plain, bound = packed(content), _bound(stream, content, key.id)
    cipher, nonces = _derived(key.secret)
    nonce = hmac.digest(nonces, _framed(bound, plain), "sha256")[:NONCE_BYTES]
    head = MAGIC + SEALED + bytes.fromhex(key.id)
    return head + nonce + cipher.encrypt(nonce, plain, bound)


def clear_blob(content: bytes, stream: str) -> bytes:
    """The same where nothing is sealed."""
    return MAGIC + CLEAR + clear_owner(stream) + packed(content)


def open_blob(
    data: bytes, stream: str, content_sha256: bytes, size_bytes: int, find: Callable[[str], bytes | None]
) -> bytes:
    """The file in a blob. `find`: the secret of a key, by its id.

    Raises NoKey where the key is not here; Corrupt where the blob is not the one that was kept for this stream and
    this file.
    """
    owner = owner_of(data)
    if owner is None:
        raise Corrupt("a blob is not one of ours, or of a later release")
    if data[len(MAGIC) : _OWNER] == SEALED:
        plain = _unsealed(data, stream, content_sha256, owner.hex(), find)
    elif owner != clear_owner(stream):
        raise Corrupt("a blob is another patient's")
    else:
        plain = data[HEAD_BYTES:]
    content = _unpacked(plain, size_bytes)
    if len(content) != size_bytes or hashlib.sha256(content).digest() != content_sha256:
        raise Corrupt("a blob does not hold the file that its event names")
    return content


def _unsealed(
    data: bytes, stream: str, content_sha256: bytes, key_id: str, find: Callable[[str], bytes | None]
) -> bytes:
    secret = find(key_id)
    if secret is None:
        raise NoKey(
            "the key that opens this attachment is not here",
            "'rekam recover --to latest' brings keys back, unless the patient was erased",
        )
    cipher, _ = _derived(secret)
    nonce, sealed = data[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES], data[HEAD_BYTES + NONCE_BYTES :]
    try:
        return cipher.decrypt(nonce, sealed, _bound_to(stream, content_sha256, key_id))
    except (InvalidTag, ValueError):
        raise Corrupt("a blob does not open as what its event names") from None


def owner_of(head: bytes) -> bytes | None:
    """Whose a blob is, by its first HEAD_BYTES; None where it is no blob of ours."""
    if not head.startswith(MAGIC) or head[len(MAGIC) : _OWNER] not in (CLEAR, SEALED):
        return None
    owner = head[_OWNER:HEAD_BYTES]
    return owner if len(owner) == OWNER_BYTES else None


def clear_owner(stream: str) -> bytes:
    return hashlib.sha256(_ABOUT + b"\0" + stream.encode()).digest()[:OWNER_BYTES]


def erased_owners(keys: KeyStore, streams: Iterable[str] | None = None) -> frozenset[bytes]:
    """What blobs of erased patients say of their owner; of all of them, or of some streams."""
    erased = keys.marks(ERASED) if streams is None else streams
    owners = {clear_owner(stream) for stream in erased}
    return frozenset(owners | {bytes.fromhex(key.id) for s in erased for key in keys.keys_of(s)})


def remove_owned(blobs: BlobStore, owners: Collection[bytes]) -> int:
    """Removes every blob of these owners, named by an event or not; how many."""
    if not owners:
        return 0
    found = [digest for digest in blobs.digests() if owner_of(blobs.head(digest, HEAD_BYTES)) in owners]
    for digest in found:
        blobs.remove(digest)
    return len(found)


class Attachments:
    """Keeps files and gives them back. As safe for threads as its stores."""

    def __init__(self, blobs: BlobStore, keys: KeyStore, *, sealing: bool, limit_bytes: int) -> None:
        self.blobs, self.keys = blobs, keys
        self._sealing, self._limit_bytes = sealing, min(limit_bytes, MOST_BYTES)

    def keep(self, stream: str, content: bytes) -> Kept:
        """Durable on return, so that an event may name it. The same again is the same.

        Raises TooLarge, Erased, KeysUnavailable, Unavailable.
        """
        refuse_large(len(content), self._limit_bytes)
        if self._sealing and stream.startswith(PATIENT):
            blob = seal_blob(content, stream, self.keys.make([stream])[stream])
        else:
            refuse_erased(s for s in (stream,) if s in self.keys.marks(ERASED))
            blob = clear_blob(content, stream)
        return Kept(self.blobs.put(blob), hashlib.sha256(content).digest(), len(content))

    def read(self, stream: str, kept: Kept) -> bytes:
        """The file. Raises BlobMissing, NoKey, Corrupt, Unavailable."""
        data = self.blobs.get(kept.blob_sha256)
        return open_blob(data, stream, kept.content_sha256, kept.size_bytes, self.keys.find)


def refuse_large(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise TooLarge(
            f"an attachment of {size_bytes:,} bytes is over the limit of {limit_bytes:,}",
            "scan it smaller, or raise attachments.limit_bytes in rekam.toml",
        )


def _derived(secret: bytes) -> tuple[AESGCM, bytes]:
    """The cipher for a patient's files, and the key of its nonces."""
    made = HKDF(SHA256(), 64, salt=None, info=_ABOUT).derive(secret)
    return AESGCM(made[:32]), made[32:]


def _bound(stream: str, content: bytes, key_id: str) -> bytes:
    return _bound_to(stream, hashlib.sha256(content).digest(), key_id)


def _bound_to(stream: str, content_sha256: bytes, key_id: str) -> bytes:
    return _framed(_ABOUT, stream.encode(), content_sha256, bytes.fromhex(key_id))


def _framed(*parts: bytes) -> bytes:
    """Each part with its length in front, so that none can be shifted."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _unpacked(plain: bytes, size_bytes: int) -> bytes:
    """`size_bytes`: what the event says. Raises Corrupt."""
    how, data = plain[:1], plain[1:]
    if how == AS_IS:
        return data
    try:
        if how != COMPRESSED or zstandard.frame_content_size(data) != size_bytes or size_bytes > MOST_BYTES:
            raise Corrupt("a blob does not unpack to the file that its event names")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError:
        raise Corrupt("a blob does not unpack") from None
