"""Files in FHIR resources: taken out, kept once, given back byte for byte, and listed with the record."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from events.attachments import Attachments
from events.blobs import BlobMissing, MemoryBlobs, named_by
from events.memory_log import MemoryLog
from events.patient_keys import MemoryKeys
from events.position import EVENTS
from services.fhir.documents import INLINE_BYTES, decoded, put_back, take_out
from services.fhir.exporting import export_events
from services.fhir.importing import Report, import_fhir
from services.fhir.references import patient_stream, source_stream
from tests.fhir_standing import LogStanding

PATIENT, SOURCE = patient_stream("s", "p1"), source_stream("s")
LARGE = b"%PDF-" + bytes(range(256)) * 100 + b"%"
OTHER = b"\xff\xd8" + bytes(range(255, -1, -1)) * 90
SMALL = b"a letter"
ADA = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Ada"}]}


class Place:
    """A log, and files beside it."""

    def __init__(self) -> None:
        self.log, self.blobs = MemoryLog({EVENTS: 2}), MemoryBlobs()
        self.files = Attachments(self.blobs, MemoryKeys(), sealing=True, limit_bytes=1_000_000)

    def take(self, path: Path, **more: Any) -> Report:
        return import_fhir(
            [path],
            source="s",
            clinic_stream="clinic-" + "0" * 32,
            log=self.log,
            standing=LogStanding(self.log),
            clock=lambda: 1_700_000_000_000_000,
            keep=self.files.keep,
            **more,
        )

    def events(self, stream: str = PATIENT) -> list[Any]:
        found = LogStanding(self.log)
        found.catch_up(self.log.end())
        return found.of(stream)

    def exported(self, stream: str = PATIENT) -> list[bytes]:
        return [one.text for one in export_events(self.events(stream), partial(self.files.read, stream))]

    def named(self) -> set[bytes]:
        end = self.log.end()
        batches = (batch for p, n in end.items() for batch in self.log.read(p, 0, n))
        return {digest for batch in batches for record in batch for digest in named_by(record.headers)}


@pytest.fixture
def place() -> Place:
    return Place()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def document(*contents: bytes, identity: str = "d1", **more: Any) -> dict[str, Any]:
    attached = [{"attachment": {"contentType": "application/PDF; x=1", "data": b64(c)}} for c in contents]
    return {
        "resourceType": "DocumentReference",
        "id": identity,
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "59284-0"}]},
        "subject": {"reference": "Patient/p1"},
        "author": [{"reference": "Practitioner/dr"}],
        "date": "2026-03-01T08:00:00+07:00",
        "context": {"encounter": [{"reference": "Encounter/e1"}]},
        "content": attached,
        **more,
    }


def lines(path: Path, *resources: dict[str, Any]) -> tuple[Path, list[bytes]]:
    texts = [json.dumps(resource).encode() for resource in resources]
    path.write_bytes(b"\n".join(texts))
    return path, texts


def test_a_document_is_mapped_its_file_is_a_blob_and_it_comes_back_as_it_was(
    place: Place, tmp_path: Path
) -> None:
    path, texts = lines(tmp_path / "all.ndjson", ADA, document(LARGE, description="Persetujuan"))
    report = place.take(path)
    assert report.mapped == {"Patient": 1, "DocumentReference": 1} and not report.refused
    fields = place.events()[-1].payload[1]
    assert (fields["title"], fields["media_type"], fields["code"]["code"]) == (
        "Persetujuan", "application/pdf", "59284-0",
    )  # fmt: skip
    assert (fields["encounter_id"], fields["practitioner"], fields["size_bytes"]) == (
        "e1",
        "s/dr",
        len(LARGE),
    )
    assert fields["content_sha256"] == hashlib.sha256(LARGE).digest()
    assert place.named() == set(place.blobs.held) == {fields["blob_sha256"]}
    assert len(fields["origin"]["original"]) < 1000, "the file is not in the event"
    assert place.exported() == texts


def test_importing_again_changes_nothing_and_another_file_is_a_correction(
    place: Place, tmp_path: Path
) -> None:
    path, _ = lines(tmp_path / "all.ndjson", ADA, document(LARGE))
    place.take(path)
    end, held = place.log.end(), dict(place.blobs.held)
    assert place.take(path).appended == 0 and place.log.end() == end and place.blobs.held == held
    changed, texts = lines(tmp_path / "changed.ndjson", ADA, document(OTHER))
    assert place.take(changed).appended == 1
    before, after = place.events()[-2:]
    assert after.payload[1]["corrects"] == before.event_id and len(place.blobs.held) == 2
    assert place.exported() == texts


def test_what_was_exported_imports_elsewhere_as_the_same(place: Place, tmp_path: Path) -> None:
    path, _ = lines(tmp_path / "all.ndjson", ADA, document(LARGE, OTHER), document(SMALL, identity="d2"))
    place.take(path)
    other = Place()
    (tmp_path / "out.ndjson").write_bytes(b"\n".join(place.exported()))
    other.take(tmp_path / "out.ndjson")
    assert other.exported() == place.exported()
    assert [e.payload[1]["origin"]["content_sha256"] for e in other.events()] == [
        e.payload[1]["origin"]["content_sha256"] for e in place.events()
    ]


def test_a_small_file_stays_in_its_event(place: Place, tmp_path: Path) -> None:
    path, texts = lines(tmp_path / "all.ndjson", ADA, document(SMALL))
    place.take(path)
    fields = place.events()[-1].payload[1]
    assert fields["blob_sha256"] is None and fields["content_sha256"] == hashlib.sha256(SMALL).digest()
    assert not place.blobs.held and not place.named() and place.exported() == texts


@pytest.mark.parametrize(
    "resource",
    [
        {
            "resourceType": "DiagnosticReport",
            "id": "r1",
            "status": "final",
            "subject": {"reference": "Patient/p1"},
            "presentedForm": [{"contentType": "application/pdf", "data": b64(LARGE)}],
        },
        {**ADA, "photo": [{"contentType": "image/jpeg", "data": b64(LARGE)}]},
        {
            "resourceType": "Consent",
            "id": "c1",
            "patient": {"reference": "Patient/p1"},
            "sourceAttachment": {"contentType": "application/pdf", "data": b64(LARGE)},
        },
        {
            "resourceType": "Binary",
            "id": "b1",
            "contentType": "application/pdf",
            "securityContext": {"reference": "Patient/p1"},
            "data": b64(LARGE),
        },
        document(LARGE, OTHER, LARGE),
    ],
    ids=lambda resource: resource["resourceType"],
)
def test_files_anywhere_in_a_resource_are_taken_out_and_put_back(
    place: Place, tmp_path: Path, resource: dict[str, Any]
) -> None:
    path, texts = lines(tmp_path / "all.ndjson", resource)
    place.take(path)
    assert place.exported() == texts and place.blobs.held
    (event,) = place.events()
    assert (
        place.named()
        == set(place.blobs.held)
        == {f["blob_sha256"] for f in event.payload[1]["origin"]["files"]}
    )


def test_a_binary_of_nobody_is_kept_with_its_source(place: Place, tmp_path: Path) -> None:
    path, texts = lines(
        tmp_path / "all.ndjson",
        {"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": b64(LARGE)},
    )
    assert place.take(path).kept == {"Binary": 1}
    assert place.exported(SOURCE) == texts and place.events() == []


@pytest.mark.parametrize("url", ["urn:uuid:9d1", "Binary/b1", "http://here/fhir/Binary/b1"])
@pytest.mark.parametrize("first", ["document", "file"])
def test_a_binary_that_a_document_of_its_bundle_names_is_its_patients(
    place: Place, tmp_path: Path, url: str, first: str
) -> None:
    pointing = document(content=[{"attachment": {"contentType": "application/pdf", "url": url}}])
    file = {"resourceType": "Binary", "id": "b1", "contentType": "application/pdf", "data": b64(LARGE)}
    full = url if not url.startswith("Binary/") else "urn:uuid:9d1"
    entries = [{"resource": pointing}, {"fullUrl": full, "resource": file}]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": ADA}]}
    bundle["entry"] += entries if first == "document" else entries[::-1]
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(bundle))
    place.take(path)
    kinds = {event.type for event in place.events()}
    assert kinds == {"registration.PatientRegistered", "source.ResourceKept", "care.DocumentAttached"}
    fields = next(e for e in place.events() if e.type == "care.DocumentAttached").payload[1]
    assert fields["record_id"] == "Binary/b1" and fields["content_sha256"] == hashlib.sha256(LARGE).digest()
    assert sorted(place.exported()) == sorted(json.dumps(one).encode() for one in (ADA, pointing, file))
    assert place.events(SOURCE) == []
    end = place.log.end()
    place.take(path)
    assert place.log.end() == end


def test_a_binary_that_documents_of_two_patients_name_is_nobodys(place: Place, tmp_path: Path) -> None:
    content = [{"attachment": {"url": "Binary/b1"}}]
    file = {"resourceType": "Binary", "id": "b1", "data": b64(SMALL)}
    documents = [
        document(identity=f"d{p}", content=content, subject={"reference": f"Patient/{p}"})
        for p in ("p1", "p2")
    ]
    entries = [{"resource": one} for one in (*documents, file)]
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    place.take(path)
    assert [event.type for event in place.events(SOURCE)] == ["source.ResourceKept"]


@pytest.mark.parametrize(
    "data",
    [b64(LARGE)[:100] + "\n" + b64(LARGE)[100:], b64(LARGE).rstrip("="), "not base64 " * 5000],
    ids=["lines", "no padding", "none"],
)
def test_what_would_not_come_back_the_same_stays_where_it_is(place: Place, tmp_path: Path, data: str) -> None:
    one = document()
    one["content"] = [{"attachment": {"contentType": "application/pdf", "data": data}}]
    path, texts = lines(tmp_path / "all.ndjson", one)
    place.take(path)
    assert not place.blobs.held and place.exported() == texts


def test_a_file_over_the_limit_is_refused_and_the_rest_goes_on(place: Place, tmp_path: Path) -> None:
    place.files = Attachments(place.blobs, MemoryKeys(), sealing=True, limit_bytes=20_000)
    path, _ = lines(tmp_path / "all.ndjson", ADA, document(LARGE), document(SMALL, identity="d2"))
    report = place.take(path)
    assert report.refused == 1 and "over the limit of 20,000" in report.refusals[0].reason
    assert [e.type for e in place.events()] == ["registration.PatientRegistered", "care.DocumentAttached"]


def test_without_its_file_nothing_is_exported_in_its_place(place: Place, tmp_path: Path) -> None:
    path, _ = lines(tmp_path / "all.ndjson", document(LARGE))
    place.take(path)
    place.blobs.held.clear()
    with pytest.raises(BlobMissing):
        place.exported()
    with pytest.raises(BlobMissing):
        list(export_events(place.events()))


def test_a_mark_that_stood_there_already_is_left_alone() -> None:
    mark = f"blob:{hashlib.sha256(LARGE).hexdigest()}"
    resource = {"a": mark, "content": {"data": b64(LARGE)}}
    text = json.dumps(resource).encode()
    files = Attachments(MemoryBlobs(), MemoryKeys(), sealing=True, limit_bytes=10**6)
    keep = partial(files.keep, "patient-1")
    assert take_out(text, resource, keep).text == text
    plain = json.dumps({"content": {"data": b64(LARGE)}}).encode()
    original = take_out(plain, {"content": {"data": b64(LARGE)}}, keep)
    assert (
        put_back(original.text, [f._asdict() for f in original.files], partial(files.read, "patient-1"))
        == plain
    )
    assert take_out(b"x" * (INLINE_BYTES + 1), {}, keep).files == () and decoded("?") is None


@pytest.mark.parametrize("depth", [10, 900, 960, 990])
def test_a_file_may_stand_however_deep(place: Place, tmp_path: Path, depth: int) -> None:
    text = f'{{"resourceType":"Basic","id":"b","subject":{{"reference":"Patient/p1"}},"deep":{"[" * depth}'
    text += f'{{"data":"{b64(LARGE)}"}}{"]" * depth}}}'
    path = tmp_path / "all.ndjson"
    path.write_text(text)
    report = place.take(path)
    assert report.refused or (place.exported() == [text.encode()] and place.blobs.held)
