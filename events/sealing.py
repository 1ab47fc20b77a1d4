"""Sealing: a patient's payloads under a key of their own, so that destroying the key erases them wherever they lie.

- The envelope stays in the clear: order, epochs, versions, verdicts, the archive's tree and its proofs need no key.
- What is sealed are the payloads of patients' streams. Events of the erasure family are not, since they must be
  readable when the key is gone.
- AES-256-GCM under a random nonce of 96 bits. Authenticated with it are event id, stream, version, type and
  fingerprint: a ciphertext that was moved into another event does not open.
- Inside stands one byte, 0 or 1, and the payload's Avro bytes: as they are (0), or as one zstandard frame (1) where
  that is smaller. It stands inside so that it is authenticated and tells nothing.
- `Opener` is the one place that opens. What it cannot open (the key is missing, or the bytes are not what was sealed)
  stays sealed and folds to nothing; whatever belongs to an erased patient folds to nothing too, sealed or not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Protocol

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events import catalogue
from events.catalogue import SEALED
from events.codec import decode_event, decode_payload, encode_event, encode_payload, with_payload
from events.envelope import Event, Payload
from events.errors import BadInput, Unavailable
from events.log import MAX_VALUE_BYTES
from events.patient_keys import ERASED, Erased, KeyStore, refuse_erased

PATIENT = "patient-"
ERASURE_FAMILY = "id.rekam.erasure."
PATIENT_ERASED = "id.rekam.erasure.PatientErased"
NONCE_BYTES = 12
LEVEL = 3
"""zstandard's level for payloads: higher gains little on a few hundred bytes."""
AS_IS, COMPRESSED = b"\0", b"\1"
NOTHING: Payload = (SEALED, {})
"""What an erased patient's payloads read as."""
_MAYBE_SEALED = b"id.rekam."
"""Stands in every sealed value, which names the type inside, and in hardly any other."""
MISSED_AT_ONCE = 1000
MOST_CIPHERS = 200_000


class Reveal(Protocol):
    """What a reader sees of events. Can be sent to another process."""

    def __call__(self, event: Event) -> Event:
        """The event with its payload opened; as it is where that cannot be. Never raises for what an event holds."""
        ...

    def notice(self, event: Event) -> None:
        """Notes where the key of a sealed event is missing, without opening it."""
        ...

    def clear(self, value: bytes) -> bytes:
        """An event's value as it would stand unsealed; as it is where it cannot be opened."""
        ...

    def refresh(self) -> None:
        """Takes in what was erased meanwhile. Before every batch."""
        ...

    @property
    def erased(self) -> Collection[str]:
        """Streams of erased patients, as of the last `refresh`."""
        ...

    def close(self) -> None: ...


class Shut:
    """The reader that holds no key."""

    erased: Collection[str] = frozenset()

    def __call__(self, event: Event) -> Event:
        return event

    def notice(self, event: Event) -> None:
        """There are no keys to miss."""

    def clear(self, value: bytes) -> bytes:
        return value

    def refresh(self) -> None:
        """Nothing changes."""

    def close(self) -> None:
        """Nothing to let go of."""


SHUT = Shut()


def bound(event: Event, kind: str, fingerprint: bytes) -> bytes:
    """What is authenticated with a payload: each part with its length in front, so that none can be shifted."""
    parts = (event.event_id, event.stream.encode(), str(event.version).encode(), kind.encode(), fingerprint)
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class _Packing(threading.local):
    """A compressor and a decompressor for each thread: they cannot be shared."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_packing = _Packing()


def packed(plain: bytes) -> bytes:
    """What is sealed: one byte, and the bytes as they are or compressed, whichever is smaller."""
    small = _packing.compress(plain)
    return COMPRESSED + small if len(small) < len(plain) else AS_IS + plain


def seal(event: Event, key_id: str, cipher: AESGCM, random: Callable[[int], bytes] = os.urandom) -> Event:
    """The event with its payload sealed under a key. Raises BadInput, UnknownSchema as `encode_event`."""
    kind = event.payload[0]
    content = packed(encode_payload(event.payload))
    fingerprint, nonce = catalogue.current_fingerprint(), random(NONCE_BYTES)
    fields = {
        "type": kind,
        "fingerprint": fingerprint,
        "key_id": key_id,
        "nonce": nonce,
        "ciphertext": cipher.encrypt(nonce, content, bound(event, kind, fingerprint)),
    }
    return event._replace(payload=(SEALED, fields))


def unseal(event: Event, cipher: AESGCM) -> Payload | None:
    """The payload of a sealed event; None where this is not its key, or the bytes are not what was sealed."""
    fields = event[10][1]
    data = unsealed_bytes(event, cipher)
    try:
        return None if data is None else decode_payload(fields["type"], fields["fingerprint"], data)
    except BadInput:
        return None


def unsealed_bytes(event: Event, cipher: AESGCM) -> bytes | None:
    """The payload's Avro bytes; None where this is not its key, or the bytes are not what was sealed."""
    fields = event[10][1]
    try:
        where = bound(event, fields["type"], fields["fingerprint"])
        content = cipher.decrypt(fields["nonce"], fields["ciphertext"], where)
        if content[:1] != COMPRESSED:
            return content[1:] if content[:1] == AS_IS else None
        if zstandard.frame_content_size(content[1:]) > MAX_VALUE_BYTES:
            return None
        return _packing.decompress(content[1:])
    except (InvalidTag, ValueError, zstandard.ZstdError):
        return None


class Opener:
    """`Reveal` with the keys of a store."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._version: object = self  # no store's
        self._ciphers: dict[str, AESGCM | None] = {}
        self._missed: dict[str, str] = {}
        self.erased: Collection[str] = frozenset()

    def __reduce__(self) -> tuple[object, ...]:
        return Opener, (self._keys,)

    def __call__(self, event: Event) -> Event:
        if self._version is self:
            self.refresh()
        stream, payload = event[2], event[10]
        if self.erased and stream in self.erased:
            return event if payload[0] == PATIENT_ERASED else event._replace(payload=NOTHING)
        if payload[0] != SEALED:
            return event
        cipher = self._cipher(payload[1]["key_id"], stream)
        opened = None if cipher is None else unseal(event, cipher)
        return event if opened is None else Event(*event[:10], opened)

    def notice(self, event: Event) -> None:
        if event[10][0] == SEALED and event[2] not in self.erased:
            self._cipher(event[10][1]["key_id"], event[2])

    def clear(self, value: bytes) -> bytes:
        if _MAYBE_SEALED not in value:
            return value
        try:
            event = decode_event(value)
            fields = event.payload[1]
            if event.payload[0] != SEALED or event.stream in self.erased:
                return value
            cipher = self._cipher(fields["key_id"], event.stream)
            data = None if cipher is None else unsealed_bytes(event, cipher)
            if data is None or fields["fingerprint"] != value[2:10]:
                return value
            return with_payload(value, event.payload, fields["type"], data)
        except BadInput:
            return value

    def _cipher(self, key_id: str, stream: str) -> AESGCM | None:
        try:
            return self._ciphers[key_id]
        except KeyError:
            pass
        if len(self._ciphers) >= MOST_CIPHERS:
            self._ciphers.clear()
        secret = self._keys.find(key_id)
        if secret is None:
            self._missed[key_id] = stream
            if len(self._missed) >= MISSED_AT_ONCE:
                self._tell_missed()
        found = self._ciphers[key_id] = None if secret is None else AESGCM(secret)
        return found

    def refresh(self) -> None:
        self._tell_missed()
        version = self._keys.version()
        if version == self._version:
            return
        erased = frozenset(self._keys.marks(ERASED))
        if erased != self.erased:
            self._ciphers.clear()
        self._ciphers = {key: cipher for key, cipher in self._ciphers.items() if cipher is not None}
        self.erased, self._version = erased, version

    def _tell_missed(self) -> None:
        """Readers go on whatever becomes of the note."""
        if self._missed:
            with suppress(Unavailable):
                self._keys.missed(self._missed)
            self._missed = {}

    def close(self) -> None:
        self._tell_missed()
        self._keys.close()


class Encoder(Protocol):
    """How a writer makes values of events."""

    def prepare(self, streams: Collection[str]) -> None:
        """Makes what the streams' events will need, durable before they are appended. Raises KeysUnavailable."""
        ...

    def refuses(self, stream: str) -> bool:
        """Whether nothing may be written to the stream any more, as of the last `prepare`."""
        ...

    def encode(self, event: Event) -> bytes:
        """The value. Raises as `encode_event`, and Erased."""
        ...

    def reveal(self, event: Event) -> Event:
        """An event that was read back, opened where that can be."""
        ...


class InTheClear:
    """Values as they always were: for logs without patients' keys."""

    def prepare(self, streams: Collection[str]) -> None:
        """Nothing is needed."""

    def refuses(self, stream: str) -> bool:
        return False

    def encode(self, event: Event) -> bytes:
        return encode_event(event)

    def reveal(self, event: Event) -> Event:
        return event


IN_THE_CLEAR = InTheClear()


class Sealer:
    """Seals where it is told to; refuses what is written about the erased in any case. Safe for several threads."""

    def __init__(self, keys: KeyStore, *, sealing: bool, random: Callable[[int], bytes] = os.urandom) -> None:
        self._keys, self._sealing, self._random = keys, sealing, random
        self._lock = threading.Lock()
        self._opener = Opener(keys)
        self._known: dict[str, tuple[str, AESGCM]] = {}
        self._version: object = None

    def prepare(self, streams: Collection[str]) -> None:
        self._prepared(streams)

    def _prepared(self, streams: Collection[str]) -> Mapping[str, tuple[str, AESGCM]]:
        """What is known then: another thread may begin anew at once."""
        with self._lock:
            self._opener.refresh()
            if not self._sealing:
                return self._known
            version = self._keys.version()
            if (
                version != self._version
            ):  # erased meanwhile, or another store lies there: its keys are what is kept
                self._known = {}
                self._version = version
            wanted = {s for s in streams if s.startswith(PATIENT) and s not in self._known}
            wanted -= set(self._opener.erased)
            if wanted:
                try:
                    made = self._keys.make(wanted)
                except Erased:  # just now: say so for the event that it hits
                    self._opener.refresh()
                    made = self._keys.make(wanted - set(self._opener.erased))
                if len(self._known) >= MOST_CIPHERS:
                    self._known = {}
                self._known |= {stream: (key.id, AESGCM(key.secret)) for stream, key in made.items()}
                self._version = self._keys.version()
            return self._known

    def refuses(self, stream: str) -> bool:
        return stream in self._opener.erased

    def encode(self, event: Event) -> bytes:
        kind = event.payload[0]
        if kind != PATIENT_ERASED and self.refuses(event.stream):
            refuse_erased([event.stream])
        sealed = self._sealing and event.stream.startswith(PATIENT)
        if not sealed or kind == SEALED or kind.startswith(ERASURE_FAMILY):
            return encode_event(event)
        known: Mapping[str, tuple[str, AESGCM]] = self._known
        if event.stream not in known:
            known = self._prepared([event.stream])
        try:
            key_id, cipher = known[event.stream]
        except KeyError:
            refuse_erased([event.stream])
            raise
        return encode_event(seal(event, key_id, cipher, self._random))

    def reveal(self, event: Event) -> Event:
        with self._lock:
            return self._opener(event)
