"""Events and control records to bytes and back: Avro single-object encoding.

A value is C3 01, the fingerprint of the schema it was written in, and the body. So bytes 10 to 25 of an event are
its id and the epoch follows, in every release: the envelope never changes. Values in an older released schema
come out as current events, resolved or upcast. Whatever else a record holds is `Unreadable`: kept, reported, and
no obstacle to its neighbours.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from events import catalogue
from events.avro_reading import MALFORMED, compile_reader, compile_tuple_reader
from events.avro_schema import FINGERPRINT_BYTES, names_of
from events.avro_writing import PayloadWriters, compile_tuple_writer, varint
from events.envelope import Epoch, Event, Payload
from events.errors import BadInput, UnknownSchema
from events.position import Partition, Position
from events.resolution import resolver
from events.rules import Rewind
from events.upcasts import UPCASTS, upcast

MAGIC = b"\xc3\x01"
BODY = len(MAGIC) + FINGERPRINT_BYTES
"""Where the body begins."""
_EPOCH = BODY + 16
"""Where the epoch's branch stands, behind the event id."""

REWOUND = "id.rekam.control.Rewound"
HEARTBEAT = "id.rekam.control.Heartbeat"
DRILL_COMPLETED = "id.rekam.control.DrillCompleted"


class Unreadable(NamedTuple):
    """A record that is no event of ours."""

    reason: str
    """In words that hold nothing of its content."""
    fingerprint: bytes | None
    """What it says its schema is; None if it says nothing."""


class Unknown(Enum):
    """The answer of `peek_epoch` about a record that is no event."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class Control(NamedTuple):
    """One record of the control topic. Field order is that of schemas/control.avsc."""

    control_id: bytes
    recorded_at: int
    """Microseconds since 1970 UTC, by the writer's clock."""
    actor: dict[str, str]
    body: Payload
    """(full Avro name, fields)"""


_Adapt: TypeAlias = Mapping[str, Callable[[Payload], Payload]]


@lru_cache
def _event_head() -> bytes:
    return MAGIC + catalogue.current_fingerprint()


@lru_cache
def _event_writer() -> Callable[[Event], bytes]:
    return compile_tuple_writer(catalogue.current(), _event_head())


@lru_cache
def _control_writer() -> Callable[[Control], bytes]:
    root = catalogue.CONTROL
    return compile_tuple_writer(catalogue.current(root), MAGIC + catalogue.current_fingerprint(root))


@lru_cache
def _event_reader(fp: bytes) -> Callable[[bytes, int], Event]:
    """The reader of values with this fingerprint. UnknownSchema if no released event schema has it."""
    return _reader(catalogue.EVENT, fp, Event)


@lru_cache
def _control_reader(fp: bytes) -> Callable[[bytes, int], Control]:
    return _reader(catalogue.CONTROL, fp, Control)


def _reader(root: str, fp: bytes, shape: Any) -> Callable[[bytes, int], Any]:
    if fp not in catalogue.fingerprints(root):
        hint = "a newer release, or a foreign producer, wrote it"
        raise UnknownSchema(f"no released schema of {root} has the fingerprint {fp.hex()}", hint)
    read = compile_tuple_reader(catalogue.writer_schema(fp), shape)
    if fp == catalogue.current_fingerprint(root):
        return read
    adapt = _adaptations(catalogue.writer_schema(fp), catalogue.current(root))

    def read_older(value: bytes, start: int) -> Any:
        record = read(value, start)
        change = adapt.get(record[-1][0])
        return record if change is None else shape(*record[:-1], change(record[-1]))

    return read_older


def _adaptations(old: Any, new: Any) -> _Adapt:
    """What must be done to payloads of which type of an older schema; nothing to most."""
    old_names, new_names = names_of(old), names_of(new)
    kept = set(catalogue.branches(new))
    made: dict[str, Callable[[Payload], Payload]] = {}
    for name in catalogue.branches(old):
        if name not in kept:
            made[name] = upcast if name in UPCASTS else _no_successor
            continue
        resolve = resolver(old_names[name], old_names, new_names[name], new_names)
        if resolve is not None:
            made[name] = lambda payload, resolve=resolve: (payload[0], resolve(payload[1]))  # type: ignore[misc]  # bound now
    return made


def _no_successor(payload: Payload) -> Payload:
    raise ValueError(f"{payload[0]} has neither a place in the current schema nor an upcast")


# ---- events


def encode_event(event: Event) -> bytes:
    """The value of an event. BadInput (UnknownSchema for its type) if the schema does not allow it."""
    try:
        return _event_writer()(event)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _not_writable(error) from None


def decode_event(value: bytes) -> Event:
    """The event that a value holds. UnknownSchema or BadInput if it holds none."""
    try:
        return _event_reader(_fingerprint_of(value))(value, BODY)
    except MALFORMED as error:
        raise BadInput(f"not an event: {_reason(error)}", "the value is cut, damaged or foreign") from None


def decode_events(values: Sequence[bytes | None]) -> list[Event | Unreadable]:
    """The same for many values, in order and fast; what is no event is Unreadable and spoils nothing else."""
    head = _event_head()
    read = _event_reader(head[len(MAGIC) :])
    found: list[Event | Unreadable] = []
    add = found.append
    with _no_collector():
        for value in values:
            if value is not None and value.startswith(head):
                try:
                    add(read(value, BODY))
                except MALFORMED as error:
                    add(Unreadable(_reason(error), head[len(MAGIC) :]))
            else:
                add(_event_or_reason(value))
    return found


@contextmanager
def _no_collector() -> Iterator[None]:
    """Events hold no cycles: looking for some while thousands are made would take half of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _event_or_reason(value: bytes | None) -> Event | Unreadable:
    if value is None:
        return Unreadable("a record without a value", None)
    if not value.startswith(MAGIC) or len(value) < BODY:
        return Unreadable("not single-object encoding", None)
    try:
        return decode_event(value)
    except UnknownSchema:
        return Unreadable("no released schema has its fingerprint", value[len(MAGIC) : BODY])
    except BadInput as error:
        return Unreadable(error.message.removeprefix("not an event: "), value[len(MAGIC) : BODY])


def peek_epoch(value: bytes | None) -> Epoch | Literal[Unknown.UNKNOWN] | None:
    """The epoch of an event without decoding it; UNKNOWN if the value cannot be an event of ours."""
    if value is None or value[:BODY] not in _event_heads() or len(value) <= _EPOCH:
        return UNKNOWN
    branch = value[_EPOCH]
    if branch == 0:
        return None
    epoch = value[_EPOCH + 1 : _EPOCH + 17]
    return epoch if branch == 2 and len(epoch) == 16 else UNKNOWN


@lru_cache
def _event_heads() -> frozenset[bytes]:
    return frozenset(MAGIC + fp for fp in catalogue.fingerprints())


def _fingerprint_of(value: bytes) -> bytes:
    if not value.startswith(MAGIC) or len(value) < BODY:
        raise BadInput("not an event: not single-object encoding", "the value is cut, damaged or foreign")
    return value[len(MAGIC) : BODY]


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "text is not UTF-8"
    return "it ends too early" if isinstance(error, IndexError) else str(error)


def _not_writable(error: Exception) -> BadInput:
    return BadInput(
        f"an event cannot be written: {type(error).__name__} where its schema wants something else",
        "events.payloads makes payloads that fit",
    )


# ---- payloads by themselves, as they are sealed


@lru_cache
def _payload_writers() -> PayloadWriters:
    schema = catalogue.current()
    return PayloadWriters(schema["fields"][-1]["type"], names_of(schema))


def encode_payload(payload: Payload) -> bytes:
    """The Avro bytes of a payload's record in the current schema. BadInput, UnknownSchema as `encode_event`."""
    try:
        return _payload_writers().body(payload)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _not_writable(error) from None


def decode_payload(name: str, fp: bytes, data: bytes) -> Payload:
    """The payload in `data`, a record `name` of the event schema with the fingerprint `fp`, as a current one.

    Raises UnknownSchema or BadInput if it is none.
    """
    try:
        return _payload_reader(name, fp)(data)
    except MALFORMED as error:
        raise BadInput(f"not a payload: {_reason(error)}", "the value is damaged or foreign") from None


def with_payload(value: bytes, payload: Payload, name: str, data: bytes) -> bytes:
    """The value of an event in which the record `name`, given as its bytes, stands in the place of `payload`.

    The record is one of the value's own schema. Raises BadInput where it has no such place.
    """
    branches = catalogue.branches(catalogue.writer_schema(value[len(MAGIC) : BODY]))
    if name not in branches or payload[0] not in branches:
        raise BadInput("the value's schema has no such event type")
    here = len(encode_payload(payload)) + len(varint(branches.index(payload[0])))
    return value[:-here] + varint(branches.index(name)) + data


@lru_cache(maxsize=1024)
def _payload_reader(name: str, fp: bytes) -> Callable[[bytes], Payload]:
    if fp not in catalogue.fingerprints():
        raise UnknownSchema(f"no released schema of events has the fingerprint {fp.hex()}")
    schema = catalogue.writer_schema(fp)
    if name == catalogue.SEALED or name not in catalogue.branches(schema):
        raise UnknownSchema("the schema of that fingerprint has no such event type")
    names = names_of(schema)
    read = compile_reader(names[name], names)
    change = (
        None if fp == catalogue.current_fingerprint() else _adaptations(schema, catalogue.current()).get(name)
    )

    def read_payload(data: bytes) -> Payload:
        fields, end = read(data, 0)
        if end != len(data):
            raise ValueError("does not end where its last field ends")
        return (name, fields) if change is None else change((name, fields))

    return read_payload


# ---- control


def encode_control(control: Control) -> bytes:
    """The value of a control record. BadInput if the schema does not allow it."""
    try:
        return _control_writer()(control)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _not_writable(error) from None


def decode_control(value: bytes | None) -> Control | Unreadable:
    """The control record that a value holds."""
    if value is None:
        return Unreadable("a record without a value", None)
    if not value.startswith(MAGIC) or len(value) < BODY:
        return Unreadable("not single-object encoding", None)
    fp = value[len(MAGIC) : BODY]
    try:
        return _control_reader(fp)(value, BODY)
    except UnknownSchema:
        return Unreadable("no released schema has its fingerprint", fp)
    except MALFORMED as error:
        return Unreadable(_reason(error), fp)


def as_rewind(control: Control) -> Rewind | None:
    """The rewind that a control record is, as the rules see it; None if it is something else."""
    name, fields = control.body
    if name != REWOUND or any(part["partition"] < 0 or part["offset"] < 0 for part in fields["target"]):
        return None
    target = {Partition(part["topic"], part["partition"]): part["offset"] for part in fields["target"]}
    return Rewind(fields["epoch"], fields["after"], Position(target))


def rewound(
    *,
    control_id: bytes,
    recorded_at: int,
    actor: Mapping[str, str],
    rewind: Rewind,
    kind: Literal["recovery", "generation"],
    target_time: int | None,
    reason: str,
) -> Control:
    """The control record of a rewind. `target_time`: milliseconds, None if a position was asked for."""
    fields = {
        "epoch": rewind.epoch,
        "after": rewind.after,
        "kind": kind,
        "target": _offsets(rewind.target),
        "target_time": target_time,
        "reason": reason,
    }
    return Control(control_id, recorded_at, dict(actor), (REWOUND, fields))


def _offsets(position: Position) -> list[dict[str, Any]]:
    return [{"topic": p.topic, "partition": p.number, "offset": offset} for p, offset in position.items()]


def drill_completed(
    *, control_id: bytes, recorded_at: int, actor: Mapping[str, str], position: Position, **fields: Any
) -> Control:
    """The control record of a drill; `fields` are those of schemas/control/drill_completed.avsc."""
    body = (DRILL_COMPLETED, {**fields, "position": _offsets(position)})
    return Control(control_id, recorded_at, dict(actor), body)


def heartbeat(*, control_id: bytes, recorded_at: int, actor: Mapping[str, str], shipper: str) -> Control:
    """A sign of life of a shipper."""
    return Control(control_id, recorded_at, dict(actor), (HEARTBEAT, {"shipper": shipper}))
