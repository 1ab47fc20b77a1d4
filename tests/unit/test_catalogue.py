"""The schemas, their lock, and the older release that stays readable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from events import catalogue, codec
from events.avro_schema import fingerprint, full_name, names_of
from events.avro_writing import compile_tuple_writer
from events.codec import Unreadable, decode_event, decode_events, encode_event, peek_epoch
from events.envelope import Event
from events.errors import UnknownSchema
from events.resolution import obstacles, resolver

SCHEMAS = Path(str(files("schemas")))
FIRST_RELEASE = next(
    fp
    for fp in catalogue.fingerprints()
    if "id.rekam.registration.CoverageChanged" in catalogue.branches(catalogue.writer_schema(fp))
)


def _described(schema: Any, where: str) -> Iterator[str]:
    """Where a doc is missing."""
    if isinstance(schema, dict):
        if schema["type"] in ("record", "enum", "fixed") and not schema.get("doc", "").strip():
            yield where
        for field in schema.get("fields", ()):
            if not field.get("doc", "").strip():
                yield f"{where}.{field['name']}"


def test_every_record_and_field_says_what_it_is() -> None:
    missing = [m for name, schema in catalogue.definitions().items() for m in _described(schema, name)]
    assert not missing


def test_every_file_defines_one_type_under_its_own_name() -> None:
    for path in SCHEMAS.rglob("*.avsc"):
        if path.parent.name != "released":
            schema = json.loads(path.read_text("utf-8"))
            name = path.stem.replace("_", "")
            assert full_name(schema).rpartition(".")[2].lower() == name, path


def test_a_nullable_field_may_be_left_out() -> None:
    for name, schema in catalogue.definitions().items():
        for field in schema.get("fields", ()):
            if isinstance(field["type"], list) and field["type"][0] == "null":
                assert "default" in field, f"{name}.{field['name']}"


def test_the_families_are_complete() -> None:
    types = catalogue.event_types()
    assert len(types) == len(set(types)) == 47
    families = {name.split(".")[2] for name in types}
    assert families == {
        "registration", "care", "laboratory", "billing", "clinic", "staff", "access", "erasure", "source",
    }  # fmt: skip
    assert set(catalogue.CORRECTIONS) | set(catalogue.CORRECTIONS.values()) <= set(types)
    assert catalogue.correction_of("id.rekam.care.AllergyRecorded") == "id.rekam.care.AllergyRecorded"


def test_every_released_schema_can_be_read() -> None:
    assert catalogue.check() == []


def test_the_text_for_archives_is_the_schema_itself() -> None:
    for root in catalogue.ROOTS:
        for fp in catalogue.fingerprints(root):
            text = catalogue.schema_json(fp)
            assert fingerprint(json.loads(text)) == fp and '"doc"' in text
    with pytest.raises(UnknownSchema):
        catalogue.schema_json(bytes(8))


# ---- the lock


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SCHEMAS / "released", tmp_path / "released")
    shutil.copy(SCHEMAS / "fingerprints.lock", tmp_path)
    return tmp_path


def test_an_untouched_copy_passes(copy: Path) -> None:
    assert catalogue.check(copy) == []


def test_an_edited_released_schema_fails_the_check(copy: Path) -> None:
    path = copy / "released" / f"{FIRST_RELEASE.hex()}.avsc"
    path.write_text(path.read_text("utf-8").replace("Clinical time", "Some time"), "utf-8")
    assert [p for p in catalogue.check(copy) if "was edited" in p]


def test_a_removed_released_schema_fails_the_check(copy: Path) -> None:
    (copy / "released" / f"{FIRST_RELEASE.hex()}.avsc").unlink()
    assert [p for p in catalogue.check(copy) if "is gone" in p]


def test_a_released_schema_outside_the_lock_fails_the_check(copy: Path) -> None:
    lock = copy / "fingerprints.lock"
    lines = lock.read_text("utf-8").splitlines(keepends=True)
    lock.write_text("".join(line for line in lines if not line.startswith(FIRST_RELEASE.hex())), "utf-8")
    assert [p for p in catalogue.check(copy) if "not in fingerprints.lock" in p]


def test_a_current_schema_that_is_not_released_fails_the_check_until_it_is(copy: Path) -> None:
    now = catalogue.current_fingerprint().hex()
    (copy / "released" / f"{now}.avsc").unlink()
    lock = copy / "fingerprints.lock"
    lines = lock.read_text("utf-8").splitlines(keepends=True)
    lock.write_text("".join(line for line in lines if not line.startswith(now)), "utf-8")
    assert [p for p in catalogue.check(copy) if "is not released as it stands" in p]
    assert catalogue.release(copy) == [now]
    assert catalogue.check(copy) == []
    assert catalogue.release(copy) == []


def test_releasing_does_not_forgive_an_edit(copy: Path) -> None:
    path = copy / "released" / f"{FIRST_RELEASE.hex()}.avsc"
    path.write_text(path.read_text("utf-8").replace("Clinical time", "Some time"), "utf-8")
    catalogue.release(copy)
    assert [p for p in catalogue.check(copy) if "was edited" in p]


def _branch(schema: Any, name: str) -> Any:
    union = schema["fields"][-1]["type"]
    return next(b for b in union if isinstance(b, dict) and full_name(b) == name)


def _lose_type(schema: Any) -> None:
    union = schema["fields"][-1]["type"]
    union.append({**_branch(schema, "id.rekam.access.RecordPrinted"), "name": "RecordFaxed"})


def _retype(schema: Any) -> None:
    _branch(schema, "id.rekam.access.RecordPrinted")["fields"][3] |= {"type": "boolean", "default": True}


def _drop_field_without_default(schema: Any) -> None:
    del _branch(schema, "id.rekam.access.RecordPrinted")["fields"][1]


def _widen_enum(schema: Any) -> None:
    error = _branch(schema, "id.rekam.care.EnteredInError")
    error["fields"][0]["type"]["symbols"].append("photograph")


def _change_envelope(schema: Any) -> None:
    schema["fields"][3]["type"] = "int"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_lose_type, "RecordFaxed is no longer a type"),
        (_retype, "copies was boolean and is int"),
        (_drop_field_without_default, "document is new and has no default"),
        (_widen_enum, "lost its symbol photograph"),
        (_change_envelope, "envelope"),
    ],
)
def test_a_schema_that_the_current_one_cannot_read_fails_the_check(
    copy: Path, change: Any, says: str
) -> None:
    """As if that schema had been released once, and the current one had changed since."""
    older = json.loads(catalogue.schema_json(catalogue.current_fingerprint()))
    change(older)
    name = fingerprint(older).hex()
    (copy / "released" / f"{name}.avsc").write_text(json.dumps(older), "utf-8")
    catalogue.release(copy)
    assert [p for p in catalogue.check(copy) if says in p], catalogue.check(copy)


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue.main(["--check"]) == 0
    assert "can be read" in capsys.readouterr().out


# ---- the older release

EVENT = Event(
    b"e" * 16,
    b"p" * 16,
    "patient-1",
    2,
    b"d" * 16,
    1_700_000_000_000_000,
    1_700_000_000_000_001,
    {"id": "s", "role": "registrar", "system": "registration"},
    None,
    None,
    ("id.rekam.registration.CoverageChanged", {}),
)


def _written_then(payload: tuple[str, dict[str, Any]]) -> bytes:
    """The bytes that the first release wrote."""
    write = compile_tuple_writer(catalogue.writer_schema(FIRST_RELEASE), codec.MAGIC + FIRST_RELEASE)
    value: bytes = write(EVENT._replace(payload=payload))
    return value


def test_an_event_of_the_first_release_is_read_as_a_current_one() -> None:
    old = {"payer": "BPJS Kesehatan", "member_number": "0001234567890", "reason": "kartu baru"}
    value = _written_then((EVENT.payload[0], old))
    event = decode_event(value)
    name, fields = event.payload
    assert name == "id.rekam.registration.CoverageChangedV2"
    (coverage,) = fields["coverages"]
    assert (coverage["kind"], coverage["payer"]) == ("bpjs", "BPJS Kesehatan")
    assert coverage["member_number"] == "0001234567890" and fields["reason"] == "kartu baru"
    assert event._replace(payload=EVENT.payload) == EVENT
    assert decode_events([value]) == [event] and peek_epoch(value) == b"p" * 16
    assert decode_event(encode_event(event)) == event, "what comes out is current"


def test_types_that_did_not_change_come_through_as_they_are() -> None:
    payload = ("id.rekam.registration.PatientMerged", {"survivor": "patient-2", "reason": None})
    assert decode_event(_written_then(payload)) == EVENT._replace(payload=payload)


def test_a_damaged_value_of_the_first_release_is_unreadable() -> None:
    value = _written_then((EVENT.payload[0], {"payer": "X", "member_number": None, "reason": None}))
    for stop in range(10, len(value)):
        (found,) = decode_events([value[:stop]])
        assert isinstance(found, Unreadable) and found.fingerprint == FIRST_RELEASE


def test_the_current_release_does_not_write_a_superseded_type() -> None:
    with pytest.raises(UnknownSchema):
        encode_event(EVENT)


# ---- resolution

OLD = {
    "type": "record", "name": "R", "namespace": "n", "fields": [
        {"name": "kept", "type": "int"},
        {"name": "dropped", "type": "string"},
        {"name": "many", "type": {"type": "array", "items": {
            "type": "record", "name": "I", "namespace": "n", "fields": [{"name": "a", "type": "string"}]}}},
        {"name": "kind", "type": {"type": "enum", "name": "K", "namespace": "n", "symbols": ["x", "y"]}},
        {"name": "maybe", "type": ["null", "n.I"], "default": None},
        {"name": "sure", "type": "string"},
    ],
}  # fmt: skip
NEW = {
    "type": "record", "name": "R", "namespace": "n", "fields": [
        {"name": "added", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "kept", "type": "long"},
        {"name": "many", "type": {"type": "array", "items": {
            "type": "record", "name": "I", "namespace": "n", "fields": [
                {"name": "a", "type": "string"}, {"name": "b", "type": ["null", "string"], "default": None}]}}},
        {"name": "kind", "type": {
            "type": "enum", "name": "K", "namespace": "n", "symbols": ["x", "other"], "default": "other"}},
        {"name": "maybe", "type": ["null", "n.I"], "default": None},
        {"name": "sure", "type": ["null", "string"], "default": None},
    ],
}  # fmt: skip


def test_resolution_follows_avro() -> None:
    old_names, new_names = names_of(OLD), names_of(NEW)
    assert list(obstacles(OLD, old_names, NEW, new_names, "R")) == []
    resolve = resolver(OLD, old_names, NEW, new_names)
    assert resolve is not None
    old = {"kept": 1, "dropped": "d", "many": [{"a": "1"}], "kind": "y", "maybe": None, "sure": "s"}
    new = {
        "added": [],
        "kept": 1,
        "many": [{"a": "1", "b": None}],
        "kind": "other",
        "maybe": None,
        "sure": "s",
    }
    assert resolve(old) == new
    assert resolve({**old, "maybe": {"a": "2"}})["maybe"] == {"a": "2", "b": None}
    assert resolve(old)["added"] is not resolve(old)["added"]
    assert resolver(OLD, old_names, OLD, old_names) is None
    assert list(obstacles(NEW, new_names, OLD, old_names, "R"))
