"""Events to bytes and back, against another Avro library; and what is no event, which harms nothing."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events import catalogue, codec
from events.codec import UNKNOWN, Unreadable, decode_event, decode_events, encode_event, peek_epoch
from events.envelope import Event
from events.errors import BadInput, RekamError, UnknownSchema
from events.position import EVENTS, Partition, Position
from events.rules import Rewind
from tests.examples import examples
from tests.payload_strategies import IDS, MICROS, TEXTS, events, payloads, values

FASTAVRO = fastavro.parse_schema(
    # Without logical types: plain integers on both sides.
    json.loads(re.sub(r', "logicalType": "[a-z-]*"', "", json.dumps(catalogue.current())))
)
SIMPLE = Event(
    b"e" * 16,
    None,
    "patient-1",
    1,
    None,
    1_700_000_000_000_000,
    1_700_000_000_000_001,
    {"id": "s", "role": "nurse", "system": "care"},
    None,
    None,
    ("id.rekam.registration.PatientMerged", {"survivor": "patient-2", "reason": None}),
)


@settings(max_examples=examples(12))
@given(st.data())
@pytest.mark.parametrize("event_type", catalogue.event_types())
def test_what_is_written_is_read_back(event_type: str, data: st.DataObject) -> None:
    event = data.draw(events(payloads(event_type)))
    value = encode_event(event)
    assert decode_event(value) == event
    assert decode_events([value, value]) == [event, event]
    assert peek_epoch(value) == event.epoch


@settings(max_examples=examples(150))
@given(events())
def test_another_avro_library_reads_and_writes_the_same_bytes(event: Event) -> None:
    value = encode_event(event)
    read = fastavro.schemaless_reader(
        io.BytesIO(value[codec.BODY :]),
        FASTAVRO,
        None,
        return_record_name=True,
        return_record_name_override=True,
    )
    assert tuple(read.values()) == event
    written = io.BytesIO()
    fastavro.schemaless_writer(written, FASTAVRO, event._asdict())
    assert written.getvalue() == value[codec.BODY :]
    assert value[2:10] == catalogue.current_fingerprint()


@given(values("id.rekam.Sealed"))
def test_a_sealed_payload_is_an_event(fields: dict[str, Any]) -> None:
    event = SIMPLE._replace(payload=(catalogue.SEALED, fields))
    assert decode_event(encode_event(event)) == event


@settings(max_examples=examples(200))
@given(events(), st.data())
def test_a_damaged_value_is_unreadable_or_another_event_and_spoils_no_neighbour(
    event: Event, data: st.DataObject
) -> None:
    value = encode_event(event)
    kind = data.draw(st.sampled_from(["cut", "longer", "flipped", "random", "none"]))
    damaged: bytes | None = value
    if kind == "cut":
        damaged = value[: data.draw(st.integers(0, len(value) - 1))]
    elif kind == "longer":
        damaged = value + data.draw(st.binary(min_size=1, max_size=40))
    elif kind == "flipped":
        at = data.draw(st.integers(0, len(value) - 1))
        damaged = value[:at] + bytes([value[at] ^ data.draw(st.integers(1, 255))]) + value[at + 1 :]
    elif kind == "random":
        damaged = value[: data.draw(st.sampled_from([0, 2, 10]))] + data.draw(st.binary(max_size=200))
    else:
        damaged = None
    good = encode_event(SIMPLE)
    before, found, after = decode_events([good, damaged, good])
    assert before == after == SIMPLE
    if kind in ("cut", "longer", "none"):
        assert isinstance(found, Unreadable) and found.reason
    if isinstance(found, Event):
        assert decode_event(encode_event(found)) == found, "what is read can be written"
    elif damaged is not None:
        with pytest.raises(BadInput):
            decode_event(damaged)
    peek_epoch(damaged)


@settings(max_examples=examples(150))
@given(st.binary(max_size=300))
@example(b"")
@example(b"\xc3\x01")
def test_any_bytes_are_a_control_record_or_unreadable(raw: bytes) -> None:
    for root in catalogue.ROOTS:
        head = codec.MAGIC + catalogue.current_fingerprint(root)
        for value in (raw, head + raw):
            codec.decode_control(value)
            (found,) = decode_events([value])
            assert isinstance(found, Unreadable | Event)


def _with_raw_text(text: bytes) -> bytes:
    """A value whose reason is these bytes."""
    marker = "?" * len(text)
    event = SIMPLE._replace(payload=(SIMPLE.payload[0], {"survivor": "patient-2", "reason": marker}))
    return encode_event(event).replace(marker.encode(), text)


@pytest.mark.parametrize("text", [b"\xff\xfe\xfd", b"a\0b", b"\xed\xa0\x80abc", b"x" * 70 + b"\0"])
def test_text_that_databases_refuse_is_unreadable(text: bytes) -> None:
    (found,) = decode_events([_with_raw_text(text)])
    assert isinstance(found, Unreadable)


@pytest.mark.parametrize("value", ["1e5", "NaN", "-0", "-0.00", "007", ".5", "5.", "", "1,5", "١", "1\n"])
def test_decimals_that_are_not_plain_are_refused_on_both_sides(value: str) -> None:
    quantity = {"value": value, "unit": None, "code": None, "comparator": None}
    name = "id.rekam.care.ObservationRecorded"
    fields = {"record_id": "o", "status": "final", "quantity": quantity}
    with pytest.raises(BadInput, match="decimal"):
        encode_event(SIMPLE._replace(payload=(name, fields)))
    placeholder = "7" * len(value.encode())
    if placeholder:
        good = encode_event(
            SIMPLE._replace(payload=(name, {**fields, "quantity": {**quantity, "value": placeholder}}))
        )
        head, _, tail = good.rpartition(placeholder.encode())
        (found,) = decode_events([head + value.encode() + tail])
        assert isinstance(found, Unreadable)


WRONG: list[tuple[str, Any]] = [
    ("an unknown field", {"survivor": "p", "reason": None, "colour": "red"}),
    ("a missing field", {"reason": None}),
    ("not a dict", ["p", None]),
    ("a number for text", {"survivor": 5, "reason": None}),
    ("a list for text", {"survivor": "p", "reason": ["x"]}),
    ("bytes for text", {"survivor": b"p", "reason": None}),
    ("a surrogate", {"survivor": "p", "reason": "\ud800"}),
    ("NUL", {"survivor": "p", "reason": "a\0b"}),
    ("a long key", {"survivor": "é" * 128, "reason": None}),
]


@pytest.mark.parametrize(("what", "fields"), WRONG, ids=[what for what, _ in WRONG])
def test_what_the_schema_does_not_allow_is_not_written(what: str, fields: Any) -> None:
    with pytest.raises(BadInput) as error:
        encode_event(SIMPLE._replace(payload=(SIMPLE.payload[0], fields)))
    assert "red" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": b"short"},
        {"event_id": "x" * 16},
        {"version": 2**63},
        {"version": True},
        {"version": "1"},
        {"occurred_at": 2**62},
        {"occurred_at": 1.5},
        {"stream": "s" * 256},
        {"stream": None},
        {"actor": None},
        {"actor": {"id": "x"}},
        {"payload": ("id.rekam.Nothing", {})},
        {"payload": None},
        {"payload": "text"},
    ],
)
def test_an_envelope_that_the_schema_does_not_allow_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(RekamError):
        encode_event(SIMPLE._replace(**change))


def test_fields_with_a_default_may_be_left_out() -> None:
    event = SIMPLE._replace(payload=(SIMPLE.payload[0], {"survivor": "patient-2"}))
    assert decode_event(encode_event(event)) == SIMPLE


def test_an_unknown_fingerprint_says_so() -> None:
    value = b"\xc3\x01" + b"12345678" + b"body"
    with pytest.raises(UnknownSchema):
        decode_event(value)
    assert decode_events([value]) == [Unreadable("no released schema has its fingerprint", b"12345678")]
    assert peek_epoch(value) is UNKNOWN


@given(
    IDS, st.none() | IDS, IDS, MICROS, st.none() | st.integers(0, 2**41), TEXTS, st.lists(st.integers(0, 99))
)
def test_a_rewind_is_read_back_as_the_rules_see_it(
    epoch: bytes,
    after: bytes | None,
    control_id: bytes,
    now: int,
    time: int | None,
    reason: str,
    ends: list[int],
) -> None:
    rewind = Rewind(epoch, after, Position({Partition(EVENTS, p): n for p, n in enumerate(ends)}))
    record = codec.rewound(
        control_id=control_id,
        recorded_at=now,
        actor=SIMPLE.actor,
        rewind=rewind,
        kind="recovery",
        target_time=time,
        reason=reason,
    )
    back = codec.decode_control(codec.encode_control(record))
    assert back == record
    assert isinstance(back, codec.Control) and codec.as_rewind(back) == rewind
    beat = codec.heartbeat(control_id=control_id, recorded_at=now, actor=SIMPLE.actor, shipper="s")
    again = codec.decode_control(codec.encode_control(beat))
    assert again == beat and isinstance(again, codec.Control) and codec.as_rewind(again) is None
