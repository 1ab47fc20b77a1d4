"""The event and the control record as Python sees them: plain, fast, immutable.

Ids are 16 bytes; times are microseconds since 1970 UTC (int), as Avro stores them. Values are validated where
they enter (pydantic, `events.payloads`), never again on replay.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeAlias

EventId: TypeAlias = bytes
Epoch: TypeAlias = bytes
Micros: TypeAlias = int
Payload: TypeAlias = tuple[str, dict[str, Any]]
"""(full Avro name of the event type, its fields)"""

ID_BYTES = 16
TYPE_ROOT = "id.rekam."
"""The namespace of all event types."""


class Event(NamedTuple):
    """One immutable fact about one stream. Field order is that of schemas/event.avsc."""

    event_id: EventId
    epoch: Epoch | None
    """The newest rewind that the writer had seen; None before any."""
    stream: str
    version: int
    """Its place in its stream, from 1."""
    previous: EventId | None
    """The event that it was decided on; None at version 1."""
    occurred_at: Micros
    """Clinical time."""
    recorded_at: Micros
    """The writing service's clock."""
    actor: dict[str, str]
    """id, role, system."""
    correlation_id: bytes | None
    causation_id: bytes | None
    payload: Payload

    @property
    def type(self) -> str:
        """The event type's name without its namespace root: `care.ObservationRecorded`."""
        return short_type(self.payload[0])


def short_type(name: str) -> str:
    """An event type's full Avro name without its namespace root."""
    return name.removeprefix(TYPE_ROOT)


def derive_id(*parts: str | bytes | None) -> bytes:
    """16 bytes that depend on every part and on where each ends: the id of a command, a resource, a stream."""
    digest = hashlib.sha256()
    for part in parts:
        raw = b"" if part is None else part.encode() if isinstance(part, str) else part
        digest.update(b"-" if part is None else b"+")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.digest()[:ID_BYTES]


def stream_name(kind: str, *parts: str | bytes) -> str:
    """`kind-<32 hex>`: an opaque stream name derived from its parts (never shown to hold an identity number)."""
    return f"{kind}-{derive_id(kind, *parts).hex()}"
