"""`rekam audit evidence` and `check`, as a clinic, an auditor with the archive alone, and a court use them."""

from __future__ import annotations

import base64
import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from events.position import Position
from projections.store import Tables
from projections.system_tables import STREAMS
from replicator.auditing.evidence import finished
from services.home import Home
from tests.command_line import rekam
from tests.integration.test_cli_audit import key_of


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic that went back once."""
    home = tmp_path_factory.mktemp("evidence") / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "6", "--events", "150", "--seed", "1")
    rekam(home, "replicate", "--once")
    early = rekam(home, "points", "--json").json()["ranges"][0]["to"]
    rekam(home, "simulate", "--patients", "6", "--events", "240", "--seed", "1")
    rekam(home, "replicate", "--once")
    rekam(home, "recover", "--to", early, "--yes")
    (home / "early").write_text(early)
    return home


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


def patients(home: Path) -> list[str]:
    with closing(Home.open(home).tables()) as tables:
        streams = (str(row[0]) for row in tables.all_rows(STREAMS))
        return sorted(stream for stream in streams if stream.startswith("patient-"))


def evidence(home: Path, patient: str, *words: object) -> Path:
    file = home.parent / f"evidence-{len(list(home.parent.iterdir()))}"
    rekam(home, "audit", "evidence", patient, "-o", file, *words)
    return file


def checked(file: Path, key: str, code: int = 0) -> Any:
    """As somebody without a home does it."""
    away = file.parent / "away"
    away.mkdir(exist_ok=True)
    return rekam(away, "audit", "check", file, "--key", key, "--json", code=code).json()


def test_it_tells_what_history_tells(clinic: Path) -> None:
    verdicts = set()
    for patient in patients(clinic):
        told = checked(evidence(clinic, patient), key_of(clinic))
        rows = rekam(clinic, "history", patient, "--json").json()["events"]
        assert told["outcome"] == "ok"
        shown = [(e["event_id"], e["verdict"], e["type"], e["position"]) for e in told["told"]["events"]]
        assert shown == [(r["event_id"], r["verdict"], r["type"], r["position"]) for r in rows]
        assert all(event["payload"] for event in told["told"]["events"])
        assert len(told["told"]["rewinds"]) == 1
        verdicts |= {row["verdict"] for row in rows}
    assert {"applied", "set-aside"} <= verdicts


def test_what_is_sealed_opens_with_the_keys_in_the_file(clinic: Path, tmp_path: Path) -> None:
    patient = patients(clinic)[0]
    value = json.loads(evidence(clinic, patient).read_bytes())
    (key_id,) = value["keys"]
    others = {name: member for name, member in value.items() if name not in ("digest", "statement", "keys")}
    for keys, code in (({key_id: "00" * 32}, 3), ({key_id: "00"}, 3), ({}, 0)):
        file = tmp_path / f"with-{len(keys.get(key_id, ''))}"
        file.write_bytes(finished({**others, "keys": keys}, None))
        told = checked(file, key_of(clinic), code)
    assert {event["payload"] for event in told["told"]["events"]} == {None}


def test_of_the_erased_it_proves_what_was_sealed_and_shows_nothing(clinic: Path) -> None:
    patient = patients(clinic)[0]
    before = checked(evidence(clinic, patient), key_of(clinic))["told"]["events"]
    rekam(clinic, "erase", patient, "--reason", "on request", "--order", "of a court", "--json")
    rekam(clinic, "replicate", "--once")
    file = evidence(clinic, patient)
    told = checked(file, key_of(clinic))
    assert json.loads(file.read_bytes())["keys"] == {}
    shown = [(event["event_id"], event["payload"]) for event in told["told"]["events"][: len(before)]]
    assert shown == [(event["event_id"], None) for event in before]


def test_as_of_a_time(clinic: Path) -> None:
    patient, early = patients(clinic)[0], (clinic / "early").read_text()
    told = checked(evidence(clinic, patient, "--at", early), key_of(clinic))
    rows = rekam(clinic, "history", patient, "--at", early, "--json").json()["events"]
    assert [e["event_id"] for e in told["told"]["events"]] == [r["event_id"] for r in rows]
    assert told["told"]["rewinds"] == []
    rekam(clinic, "audit", "evidence", patient, "--at", "2999-01-01", "-o", clinic / "none", code=1)
    assert not (clinic / "none").exists()


def test_by_the_archive_alone(clinic: Path, tmp_path: Path) -> None:
    """On a machine with the archive, the identity and the key; it signs nothing there."""
    away = tmp_path / "auditor"
    away.mkdir()
    patient = patients(clinic)[0]
    place = ["--archive", clinic / "archive", "--key", key_of(clinic)]
    identity = ["--identity", clinic / "keys" / "owner.txt"]
    file = tmp_path / "file"
    rekam(away, "audit", "evidence", patient, "-o", file, *place, *identity)
    here, there = checked(evidence(clinic, patient), key_of(clinic)), checked(file, key_of(clinic))
    assert there["told"]["events"] != [] and there["told"]["stated_by"] is None
    assert here["told"]["stated_by"] and here["outcome"] == there["outcome"] == "ok"
    ids = [[event["event_id"] for event in told["told"]["events"]] for told in (here, there)]
    assert ids[0] == ids[1]
    refused = rekam(away, "audit", "evidence", patient, "-o", tmp_path / "no", *place, code=1)
    assert "encrypted" in refused.err
    rekam(away, "audit", "evidence", "Somebody", "-o", tmp_path / "no", *place, *identity, code=1)
    assert not (tmp_path / "no").exists()


def test_where_the_tables_are_lost(clinic: Path) -> None:
    patient = patients(clinic)[0]
    before = checked(evidence(clinic, patient), key_of(clinic))
    for file in clinic.glob("tables.db*"):
        file.unlink()
    assert checked(evidence(clinic, patient), key_of(clinic))["told"]["events"] == before["told"]["events"]


def test_what_the_tables_do_not_tell_is_read_from_the_archive(clinic: Path) -> None:
    """The archive may be ahead of the tables: another process ships."""

    def half(_: Tables, stop: Position) -> Position:
        return Position({partition: offset // 2 for partition, offset in stop.items()})

    for patient in patients(clinic):
        whole = checked(evidence(clinic, patient), key_of(clinic))["told"]["events"]
        with mock.patch("services.evidence._stands_at", half):
            assert checked(evidence(clinic, patient), key_of(clinic))["told"]["events"] == whole


def test_no_other_patient_is_in_it(clinic: Path) -> None:
    patient, *others = patients(clinic)
    data = evidence(clinic, patient).read_bytes()
    records = [base64.b64decode(r["record"]) for s in json.loads(data)["segments"] for r in s["records"]]
    with closing(Home.open(clinic).tables()) as tables:
        own = {value for row in tables.rows("patients", patient) for value in row}
        for other in others:
            values = {value for row in tables.rows("patients", other) for value in row} - own
            secrets = {value for value in values if isinstance(value, str) and len(value) > 8}
            ids = [row.event_id for row in tables.journal(other)]
            told = [other, *secrets, *(one.hex() for one in ids)]
            for text in (data, *records):
                assert not [secret for secret in told if secret.encode() in text]
                assert not [one for one in ids if one in text]


def test_what_check_says(clinic: Path, tmp_path: Path) -> None:
    patient = patients(clinic)[0]
    file = evidence(clinic, patient)
    shown = rekam(tmp_path, "audit", "check", file, "--key", key_of(clinic)).out
    assert "Proven by checkpoint" in shown and "Not proven" in shown
    assert f"of {patient}." in shown.splitlines()[-1] and shown.splitlines()[-1].startswith("OK: ")
    assert rekam(clinic, "audit", "check", file).out.splitlines()[-1] == shown.splitlines()[-1]
    data = file.read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data.replace(b'"records":[{', b'"records":[{ ', 1))
    rekam(tmp_path, "audit", "check", damaged, "--key", key_of(clinic), code=3)
    damaged.write_bytes(data.replace(patient.encode(), patients(clinic)[1].encode(), 1))
    assert "INVALID" in rekam(tmp_path, "audit", "check", damaged, "--key", key_of(clinic), code=3).out
    assert checked(damaged, key_of(clinic), code=3)["outcome"] == "invalid"


def test_a_file_is_never_written_over_nor_into_the_archive(clinic: Path) -> None:
    patient = patients(clinic)[0]
    file = evidence(clinic, patient)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    rekam(clinic, "audit", "evidence", patient, "-o", file, code=1)
    assert file.read_bytes() == before
    rekam(clinic, "audit", "evidence", patient, "-o", clinic / "archive" / "evidence", code=2)


def test_an_archive_that_was_rolled_back_gives_no_evidence(clinic: Path) -> None:
    patient = patients(clinic)[0]
    newest = sorted((clinic / "archive" / "checkpoints").glob("0*"))[-1]
    shutil.rmtree(newest)
    ran = rekam(clinic, "audit", "evidence", patient, "-o", clinic / "none", code=1)
    assert "rolled back" in ran.err and not (clinic / "none").exists()
