"""Attachments by command: kept, listed, read, shipped, recovered on an empty machine, erased for good."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import tomllib
from pathlib import Path

import pytest

from replicator.auditing.evidence import finished
from tests.command_line import (
    NO_TRACEBACK,
    Ran,
    digest,
    finish,
    lose,
    moment,
    ndjson,
    rekam,
    sample_lines,
    start,
)
from tests.imported_clinics import ImportedClinic

SCAN = os.urandom(60_000)
LETTER = b"Kepada Yth. " * 500


class Clinic(ImportedClinic):
    def refused(self, *words: object, code: int = 1) -> str:
        ran = rekam(self.home, *words, code=code)
        assert ran.out == "" and NO_TRACEBACK not in ran.err
        assert "error: " in ran.err and "hint: " in ran.err
        return ran.err

    def file(self, name: str, content: bytes) -> Path:
        path = self.home.parent / name
        path.write_bytes(content)
        return path

    def attach(self, patient: str, name: str, content: bytes, *words: object) -> dict:
        return self.do("attach", patient, self.file(name, content), *words)

    def documents(self, patient: str, *words: object) -> list[dict]:
        return self.do("attachments", patient, *words)["documents"]

    def read(self, patient: str, document: str) -> bytes:
        path = self.home.parent / f"read-{os.urandom(4).hex()}"
        rekam(self.home, "attachment", patient, document, "-o", path)
        return path.read_bytes()

    def patients(self) -> list[str]:
        found = {
            json.loads(line)["id"] for line in sample_lines(0, 700) if b'"resourceType":"Patient"' in line
        }
        return sorted(found)

    @property
    def kept(self) -> list[Path]:
        return sorted(path for path in (self.home / "attachments").rglob("*") if path.is_file())

    @property
    def shipped(self) -> list[Path]:
        return sorted((self.home / "archive" / "blobs").rglob("*.age"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    return Clinic.made_in(tmp_path_factory.mktemp("attached"))


@pytest.fixture
def clinic(made: Clinic, tmp_path: Path) -> Clinic:
    return made.copied_to(tmp_path / "there")


def test_a_file_is_attached_listed_and_read_back(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    done = clinic.attach(ada, "consent.pdf", SCAN, "--title", "Persetujuan", "--kind", "59284-0")
    assert done["size_bytes"] == len(SCAN) and not done["again"]
    clinic.attach(ada, "letter.TXT", LETTER, "--kind", "referral")
    scan, letter = clinic.documents(ada)
    assert (scan["title"], scan["kind"], scan["media_type"]) == ("Persetujuan", "59284-0", "application/pdf")
    assert scan["kind_system"] == "http://loinc.org" and scan["document"] == done["document"]
    assert (letter["title"], letter["kind"], letter["media_type"]) == ("letter.TXT", "referral", "text/plain")
    assert clinic.read(ada, scan["document"]) == SCAN
    assert clinic.read(ada, letter["document"][:8]) == LETTER
    out = rekam(clinic.home, "attachments", ada).out
    assert scan["document"][:12] in out and f"{len(SCAN):,}" in out
    for path in clinic.kept:
        assert SCAN[:100] not in path.read_bytes() and LETTER[:50] not in path.read_bytes()


def test_the_same_again_changes_nothing_and_the_same_file_is_kept_once(clinic: Clinic) -> None:
    ada, ben, *_ = clinic.patients()
    first = clinic.attach(ada, "scan.pdf", SCAN)
    again = clinic.attach(ada, "scan.pdf", SCAN)
    assert again == {**first, "again": True} and len(clinic.documents(ada)) == 1
    other = clinic.attach(ada, "scan.pdf", SCAN, "--title", "the same, with other words")
    assert other["blob_sha256"] == first["blob_sha256"] and len(clinic.kept) == 1
    clinic.ship()
    assert len(clinic.shipped) == 1
    elsewhere = clinic.attach(ben, "scan.pdf", SCAN)
    assert elsewhere["blob_sha256"] != first["blob_sha256"] and len(clinic.kept) == 2


def test_what_cannot_be_attached_is_told(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    scan = clinic.file("scan.pdf", SCAN)
    assert "no such patient" in clinic.refused("attach", "nobody", scan)
    assert "cannot be read" in clinic.refused("attach", ada, clinic.home / "missing.pdf")
    assert "is a folder" in clinic.refused("attach", ada, clinic.home, "--media-type", "application/pdf")
    assert "is empty" in clinic.refused("attach", ada, clinic.file("nothing.pdf", b""))
    assert clinic.documents(ada) == []
    assert "--media-type" in clinic.refused("attach", ada, clinic.file("scan", SCAN))
    assert "are not taken" in clinic.refused("attach", ada, scan, "--media-type", "video/mp4")
    assert "no such encounter" in clinic.refused("attach", ada, scan, "--encounter", "none")
    assert "is no code" in clinic.refused("attach", ada, scan, "--kind", "http://loinc.org|  ")
    limit = {"REKAM_ATTACHMENTS__LIMIT_BYTES": "1000"}
    assert "over the limit of 1,000" in rekam(clinic.home, "attach", ada, scan, code=1, **limit).err
    assert clinic.documents(ada) == [] and not clinic.kept
    assert "no such document" in clinic.refused("attachment", ada, "0" * 32)


def test_a_file_is_never_written_over(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    done = clinic.attach(ada, "scan.pdf", SCAN)
    there = clinic.file("there.pdf", b"mine")
    assert "cannot be written" in clinic.refused("attachment", ada, done["document"], "-o", there)
    assert there.read_bytes() == b"mine"


def test_a_document_can_be_seen_as_the_record_stood(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    before = moment()
    clinic.attach(ada, "scan.pdf", SCAN)
    clinic.ship()
    assert clinic.documents(ada, "--at", before) == [] and len(clinic.documents(ada)) == 1
    clinic.recover(before)
    assert clinic.documents(ada) == []
    done = clinic.attach(ada, "scan.pdf", SCAN)
    assert clinic.read(ada, done["document"]) == SCAN and len(clinic.kept) == 1


def test_restricted_files_are_kept_and_not_shown(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    done = clinic.attach(ada, "scan.pdf", SCAN)
    rekam(clinic.home, "restrict", ada, "--reason", "asked for")
    assert "restricted" in clinic.refused("attachments", ada)
    assert "restricted" in clinic.refused("attachment", ada, done["document"])
    rekam(clinic.home, "restrict", ada, "--lift", "--reason", "asked for")
    assert clinic.read(ada, done["document"]) == SCAN


def test_an_empty_machine_gets_every_file_back(clinic: Clinic, tmp_path: Path) -> None:
    ada, ben, *_ = clinic.patients()
    done, other = clinic.attach(ada, "scan.pdf", SCAN), clinic.attach(ben, "letter.txt", LETTER)
    clinic.ship()
    truth = digest(clinic.home)
    new = clinic.to_empty_machine(tmp_path / "new")
    found = new.recover()["attachments"]
    assert (found["files"], found["lost"], found["erased"]) == (2, 0, 0)
    assert digest(new.home) == truth
    assert new.read(ada, done["document"]) == SCAN and new.read(ben, other["document"]) == LETTER
    assert [path.read_bytes() for path in new.kept] == [path.read_bytes() for path in clinic.kept]
    assert new.recover()["attachments"]["files"] == 0, "what is here is not fetched again"
    assert new.do("status")["status"] == "green"


def test_a_lost_folder_comes_back_and_what_was_not_fetched_yet_too(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    done = clinic.attach(ada, "scan.pdf", SCAN)
    clinic.attach(ada, "letter.txt", LETTER)
    clinic.ship()
    clinic.kept[0].unlink()
    assert [d["here"] for d in clinic.documents(ada)].count(False) == 1
    status = clinic.do("status")
    assert status["status"] == "yellow" and "1 attached files are not on this machine" in str(
        status["findings"]
    )
    assert clinic.recover()["attachments"]["files"] == 1
    shutil.rmtree(clinic.home / "attachments")
    assert "recover --to latest" in clinic.refused("attachment", ada, done["document"])
    assert clinic.recover()["attachments"]["files"] == 2
    assert clinic.read(ada, done["document"]) == SCAN and clinic.do("status")["status"] == "green"


def test_a_damaged_file_is_never_given_out(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    done = clinic.attach(ada, "scan.pdf", SCAN)
    clinic.ship()
    (path,) = clinic.kept
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert "damaged" in clinic.refused("attachment", ada, done["document"])
    path.unlink()
    clinic.recover()
    assert clinic.read(ada, done["document"]) == SCAN


def test_an_archive_that_lost_one_gives_the_others(clinic: Clinic, tmp_path: Path) -> None:
    ada, *_ = clinic.patients()
    for n in range(3):
        clinic.attach(ada, f"{n}.pdf", SCAN + bytes([n]))
    clinic.ship()
    clinic.shipped[0].unlink()
    clinic.shipped[0].write_bytes(b"other bytes")
    found = clinic.to_empty_machine(tmp_path / "new").recover()["attachments"]
    assert (found["files"], found["lost"]) == (1, 2)
    verified = clinic.do("backup", "verify", "--depth", "digests", code=None)
    assert verified["outcome"] == "invalid" and len(verified["findings"]) == 2


def test_a_missing_file_shows_red_stops_nothing_and_heals(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    clinic.attach(ada, "scan.pdf", SCAN)
    (path,) = clinic.kept
    path.rename(clinic.home.parent / "aside")
    ran = rekam(clinic.home, "replicate", "--once")
    assert "1 attachments that events name are not on this machine" in ran.err
    assert clinic.ship()["missing_attachments"] == 0, "told once; from then on status tells"
    status = clinic.do("status", code=1)
    assert status["missing_attachments"] == 1 and status["unshipped_records"] <= 2
    assert any("attachments" in f["text"] and f["status"] == "red" for f in status["findings"])
    (clinic.home.parent / "aside").rename(path)
    assert clinic.do("status")["status"] == "yellow"
    clinic.ship()
    assert clinic.do("status")["status"] == "green" and len(clinic.shipped) == 1


def test_the_erased_have_no_files_whatever_is_recovered(clinic: Clinic, tmp_path: Path) -> None:
    ada, ben, *_ = clinic.patients()
    stream = clinic.do("attachments", ada)["patient"]
    clinic.attach(ada, "scan.pdf", SCAN)
    before = moment()
    clinic.ship()
    clinic.attach(ada, "not-shipped-yet.pdf", SCAN + b"!")
    kept = clinic.attach(ben, "letter.txt", LETTER)
    report = clinic.do("erase", ada, "--reason", "asked for", "--order", "a court")
    assert report["files"] == 2 and len(clinic.kept) == 1
    assert clinic.do("status")["status"] == "green", "nothing is said to be missing"
    assert clinic.documents(stream) == []
    for lost in ((), ("log.db", "tables.db"), ("tables.db",)):
        lose(clinic.home, *lost)
        found = clinic.recover()["attachments"]
        assert found["files"] == 0 and found["erased"] == 2
    clinic.recover(before)
    new = clinic.to_empty_machine(tmp_path / "new")
    assert new.recover()["attachments"]["files"] == 1
    assert len(new.kept) == 1 and new.documents(stream) == []
    new.recover("latest")
    assert kept["blob_sha256"] in new.kept[0].name
    assert new.do("audit", "verify", "--depth", "records")["outcome"] in ("ok", "inconclusive")


def test_a_clinic_that_seals_nothing_keeps_files_too(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "plain")
    rekam(clinic.home, "init")
    settings = clinic.home / "rekam.toml"
    settings.write_text(settings.read_text().replace("sealing = true", "sealing = false"))
    rekam(clinic.home, "import", "fhir", ndjson(tmp_path / "all.ndjson", sample_lines(0, 100)))
    stream = clinic.patients()[0]
    done = clinic.attach(stream, "letter.txt", LETTER)
    clinic.ship()
    assert LETTER[:50] not in clinic.shipped[0].read_bytes(), "age seals what lies elsewhere"
    name = clinic.do("attachments", stream)["patient"]
    rekam(clinic.home, "erase", stream, "--reason", "asked for", "--order", "a court")
    assert not clinic.kept
    assert clinic.recover()["attachments"] == {"files": 0, "size_bytes": 0, "erased": 1, "lost": 0}
    assert clinic.documents(name) == [] and done["size_bytes"] == len(LETTER)


def test_killed_anywhere_a_document_has_its_file(clinic: Clinic) -> None:
    ada, *_ = clinic.patients()
    for n in range(6):
        path = clinic.file(f"{n}.pdf", SCAN + bytes([n]))
        with start(clinic.home, "attach", ada, path) as process:
            try:
                process.wait(0.5 + n * 0.08)
            except Exception:  # noqa: BLE001  (still at work: that is when it dies)
                process.send_signal(signal.SIGKILL)
            process.communicate()
        documents = clinic.documents(ada)
        assert all(document["here"] for document in documents)
        rekam(clinic.home, "attach", ada, path)
        assert len(clinic.documents(ada)) == n + 1


def test_a_process_of_its_own_says_what_is_wrong_in_a_line(clinic: Clinic) -> None:
    with start(clinic.home, "attach", "nobody", clinic.file("scan.pdf", SCAN)) as process:
        ran: Ran = finish(process, code=1)
    assert "no such patient" in ran.err and ran.out == ""


def test_imported_documents_are_listed_read_exported_and_recovered(clinic: Clinic, tmp_path: Path) -> None:
    ada, *_ = clinic.patients()
    small = {"contentType": "text/plain", "data": base64.b64encode(b"halo").decode()}
    large = {"contentType": "application/pdf", "title": "Hasil", "data": base64.b64encode(SCAN).decode()}
    subject = {"reference": f"Patient/{ada}"}
    resources = [
        {
            "resourceType": "DocumentReference",
            "id": "doc-large",
            "subject": subject,
            "content": [{"attachment": large}],
        },
        {
            "resourceType": "DocumentReference",
            "id": "doc-small",
            "subject": subject,
            "content": [{"attachment": small}],
        },
        {"resourceType": "DiagnosticReport", "id": "rep", "subject": subject, "presentedForm": [large]},
    ]
    texts = [json.dumps(resource).encode() for resource in resources]
    path = clinic.file("documents.ndjson", b"\n".join(texts))
    assert clinic.do("import", "fhir", path)["refused"] == 0
    rekam(clinic.home, "import", "fhir", path)
    assert [(d["document"], d["title"], d["here"]) for d in clinic.documents(ada)] == [
        ("doc-large", "Hasil", True),
        ("doc-small", None, True),
    ]
    assert clinic.read(ada, "doc-large") == SCAN and clinic.read(ada, "doc-small") == b"halo"
    attached = clinic.attach(ada, "letter.txt", LETTER)
    clinic.ship()
    assert len(clinic.shipped) == 2, "the same file in two resources is one"
    new = clinic.to_empty_machine(tmp_path / "new")
    new.recover()
    out = tmp_path / "out.ndjson"
    rekam(new.home, "export", "fhir", ada, "-o", out)
    exported = out.read_bytes().splitlines()
    assert all(text in exported for text in texts)
    built = json.loads(next(line for line in exported if attached["document"].encode() in line))
    assert base64.b64decode(built["content"][0]["attachment"]["data"]) == LETTER
    assert out.read_text() == rekam(clinic.home, "export", "fhir", ada).out
    shutil.rmtree(new.home / "attachments")
    half = tmp_path / "half.ndjson"
    assert "recover --to latest" in new.refused("export", "fhir", ada, "-o", half) and not half.exists()


def test_a_verification_opens_what_it_has_keys_for_and_names_what_is_missing(clinic: Clinic) -> None:
    ada, ben, *_ = clinic.patients()
    clinic.attach(ada, "scan.pdf", SCAN)
    clinic.attach(ben, "letter.txt", LETTER)
    clinic.ship()
    verified = clinic.do("backup", "verify", "--depth", "decode")
    assert verified["outcome"] == "ok" and verified["counts"]["attachments_opened"] == 2
    rekam(clinic.home, "erase", ada, "--reason", "asked for", "--order", "a court")
    verified = clinic.do("backup", "verify", "--depth", "decode")
    assert verified["outcome"] == "ok" and verified["counts"]["attachments_closed"] == 1
    done = clinic.attach(ben, "scan.pdf", SCAN)
    clinic.kept[[done["blob_sha256"] in path.name for path in clinic.kept].index(True)].unlink()
    clinic.ship()
    verified = clinic.do("backup", "verify", "--depth", "decode", code=3)
    assert any(done["blob_sha256"] in text for text in verified["findings"])


def test_evidence_holds_the_patients_files_and_nobody_elses(clinic: Clinic, tmp_path: Path) -> None:
    ada, ben, *_ = clinic.patients()
    done = clinic.attach(ada, "scan.pdf", SCAN)
    clinic.attach(ben, "letter.txt", LETTER)
    clinic.ship()
    file, elsewhere = tmp_path / "evidence.json", tmp_path / "elsewhere"
    rekam(clinic.home, "audit", "evidence", ada, "-o", file)
    key = tomllib.loads((clinic.home / "rekam.toml").read_text())["keys"]["verification_key"]
    checked = rekam(
        elsewhere, "audit", "check", file, "--key", key, "--files", tmp_path / "out", "--json"
    ).json()
    (told,) = checked["told"]["files"]
    assert checked["outcome"] == "ok" and told["opened"] and told["blob_sha256"] == done["blob_sha256"]
    (out,) = (tmp_path / "out").iterdir()
    assert out.read_bytes() == SCAN and out.name == done["content_sha256"]
    shown = rekam(elsewhere, "audit", "check", file, "--key", key).out
    assert f"{len(SCAN):,} bytes, opened: SHA-256 {done['content_sha256']}" in shown

    raw = json.loads(file.read_text())
    assert list(raw["blobs"]) == [done["blob_sha256"]]
    edited = {**raw, "blobs": {done["blob_sha256"]: base64.b64encode(b"another file").decode()}}
    without = {name: member for name, member in raw.items() if name != "blobs"}
    foreign = {
        **raw,
        "blobs": {**raw["blobs"], hashlib.sha256(b"x").hexdigest(): base64.b64encode(b"x").decode()},
    }
    for changed, code in ((edited, 3), (foreign, 3), (without, 4)):
        value = {name: member for name, member in changed.items() if name not in ("digest", "statement")}
        file.write_bytes(finished(value, None))
        assert rekam(elsewhere, "audit", "check", file, "--key", key, code=code).out


def test_evidence_of_what_the_archive_lacks_is_inconclusive(clinic: Clinic, tmp_path: Path) -> None:
    ada, *_ = clinic.patients()
    clinic.attach(ada, "scan.pdf", SCAN)
    clinic.kept[0].unlink()
    clinic.ship()
    file = tmp_path / "evidence.json"
    rekam(clinic.home, "audit", "evidence", ada, "-o", file)
    found = rekam(clinic.home, "audit", "check", file, "--json", code=4).json()
    assert found["reasons"] == ["an attached file that an event names is not in the file"]


def test_files_of_before_and_after_a_rotation_of_every_key_come_back(clinic: Clinic, tmp_path: Path) -> None:
    ada, *_ = clinic.patients()
    before = clinic.attach(ada, "scan.pdf", SCAN)
    clinic.ship()
    for what in (("recipients", "--new-identity"), ("signing",)):
        clinic.do("keys", "rotate", *what, "--reason", "a test")
    clinic.attach(ada, "scan.pdf", SCAN, "--title", "the same file again")
    after = clinic.attach(ada, "letter.txt", LETTER)
    assert clinic.ship()["missing_attachments"] == 0 and len(clinic.shipped) == 2
    new = clinic.to_empty_machine(tmp_path / "new")
    assert new.recover()["attachments"]["files"] == 2
    assert new.read(ada, before["document"]) == SCAN and new.read(ada, after["document"]) == LETTER
    assert new.do("backup", "verify", "--depth", "decode")["counts"]["attachments_opened"] == 2
    file = tmp_path / "evidence.json"
    rekam(new.home, "audit", "evidence", ada, "-o", file)
    checked = rekam(new.home, "audit", "check", file, "--json").json()
    assert checked["outcome"] == "ok" and len(checked["told"]["files"]) == 3
