"""Records in and out by command: importing twice, bad lines, what is not mapped; reading now and as of a time."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tests.command_line import digest, moment, ndjson, rekam, sample_lines

SECRETS = ("Rahayu", "3171014501900001")
"""Of a patient on a bad line: no message may hold them."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with its first resources, and `rest.ndjson` beside it, not imported."""
    folder = tmp_path_factory.mktemp("records")
    rekam(folder / "clinic", "init")
    rekam(folder / "clinic", "import", "fhir", ndjson(folder / "first.ndjson", sample_lines(0, 120)))
    ndjson(folder / "rest.ndjson", sample_lines(120, 330))
    return folder


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "all")) / "clinic"


@pytest.fixture
def first(clinic: Path) -> Path:
    return clinic.parent / "first.ndjson"


@pytest.fixture
def rest(clinic: Path) -> Path:
    return clinic.parent / "rest.ndjson"


def a_patient(clinic: Path, path: Path) -> dict:
    """The first patient of a file, and the stream that bears its id."""
    found = next(r for r in map(json.loads, path.read_bytes().splitlines()) if r["resourceType"] == "Patient")
    stream = rekam(clinic, "show", found["id"], "--json").json()["patient"]
    return {**found, "stream": stream}


def test_importing_twice_changes_nothing(clinic: Path, first: Path) -> None:
    before = digest(clinic)
    again = rekam(clinic, "import", "fhir", first, "--json").json()
    assert sum(again["read"].values()) == 120 and again["refused"] == 0
    assert digest(clinic) == before
    assert "0 new events; 120 were there already" in rekam(clinic, "import", "fhir", first).out


def test_order_and_packing_of_files_do_not_matter(
    clinic: Path, first: Path, rest: Path, tmp_path: Path
) -> None:
    rekam(clinic, "import", "fhir", rest)
    folder = tmp_path / "packed" / "deeper"
    folder.mkdir(parents=True)
    (folder / "all.ndjson.gz").write_bytes(gzip.compress(first.read_bytes() + rest.read_bytes()))
    other = tmp_path / "other"
    rekam(other, "init")
    report = rekam(other, "import", "fhir", tmp_path / "packed", "--json").json()
    assert sum(report["mapped"].values()) == 330
    strip = {name: table["rows"] for name, table in digest(other).items()}
    assert strip == {name: table["rows"] for name, table in digest(clinic).items()}


def test_a_bad_line_is_refused_with_file_line_and_reason_and_the_rest_goes_on(
    clinic: Path, rest: Path
) -> None:
    lines = rest.read_bytes().splitlines(keepends=True)
    name, nik = SECRETS
    bad = [
        b'{"resourceType":"Patient","id":"bad","name":[{"family":"%s"}],\n' % name.encode(),
        b'["%s"]\n' % nik.encode(),
        b'{"id":"%s"}\n' % nik.encode(),
        b"\xff\xfe\x00 %s\n" % nik.encode(),
    ]
    mixed = ndjson(clinic.parent / "mixed.ndjson", [*lines[:50], *bad, *lines[50:]])
    ran = rekam(clinic, "import", "fhir", mixed, "--json", code=1)
    report = ran.json()
    assert report["refused"] == len(bad)
    assert sum(report["mapped"].values()) == len(lines)
    for line in range(51, 51 + len(bad)):
        assert f"mixed.ndjson:{line}: " in ran.err
    assert not any(secret in ran.err + ran.out for secret in SECRETS)
    good = digest(clinic)
    assert rekam(clinic, "import", "fhir", rest, "--json").json()["refused"] == 0
    assert digest(clinic) == good


def test_a_type_that_is_not_mapped_is_kept_and_no_failure(clinic: Path, first: Path) -> None:
    patient = a_patient(clinic, first)
    kept = {"resourceType": "CareTeam", "id": "t1", "subject": {"reference": f"Patient/{patient['id']}"}}
    loose = {"resourceType": "Questionnaire", "id": "q1"}
    path = ndjson(clinic.parent / "kept.ndjson", [json.dumps(r).encode() + b"\n" for r in (kept, loose)])
    report = rekam(clinic, "import", "fhir", path, "--json").json()
    assert report["kept"] == {"CareTeam": 1, "Questionnaire": 1}
    assert report["mapped"] == {} and report["refused"] == 0
    out = rekam(clinic, "export", "fhir", patient["stream"]).out
    assert kept in [json.loads(line) for line in out.splitlines()]


def test_files_that_cannot_be_read(clinic: Path, tmp_path: Path) -> None:
    before = digest(clinic)
    empty = tmp_path / "empty.ndjson"
    empty.write_bytes(b"")
    folder = tmp_path / "none"
    folder.mkdir()
    torn = tmp_path / "torn.ndjson.gz"
    torn.write_bytes(gzip.compress(sample_lines(0, 1)[0])[:-20])
    wrong = tmp_path / "wrong.ndjson.xz"
    wrong.write_bytes(b"not xz at all")
    assert "no such file" in rekam(clinic, "import", "fhir", tmp_path / "nowhere", code=1).err
    for path in (torn, wrong):
        assert path.name in rekam(clinic, "import", "fhir", path, code=1).err
    for path in (empty, folder):
        rekam(clinic, "import", "fhir", path, code=None)
    assert digest(clinic) == before


def test_what_was_imported_comes_out_as_it_came(
    clinic: Path, first: Path, rest: Path, tmp_path: Path
) -> None:
    rekam(clinic, "import", "fhir", rest)
    patient = a_patient(clinic, first)
    given = [json.loads(line) for path in (first, rest) for line in path.read_bytes().splitlines()]
    mine = [r for r in given if f"Patient/{patient['id']}" in json.dumps(r) or r["id"] == patient["id"]]
    out = rekam(clinic, "export", "fhir", patient["id"]).out
    key = lambda r: (r["resourceType"], r["id"])  # noqa: E731
    assert sorted(map(json.loads, out.splitlines()), key=key) == sorted(mine, key=key)
    target = tmp_path / "out.ndjson"
    rekam(clinic, "export", "fhir", patient["id"], "-o", target)
    assert target.read_text() == out
    assert "cannot be written" in rekam(clinic, "export", "fhir", patient["id"], "-o", target, code=1).err
    assert target.read_text() == out


def test_the_past_is_what_was_seen_then(clinic: Path, first: Path, rest: Path) -> None:
    patient = a_patient(clinic, first)["stream"]
    seen = {word: rekam(clinic, word, patient, "--json").json() for word in ("show", "history")}
    taken, then = digest(clinic), moment()
    rekam(clinic, "import", "fhir", rest)
    for shipped in (False, True):
        if shipped:
            rekam(clinic, "replicate", "--once", "--snapshot")
        assert digest(clinic, "--at", then) == taken
        for word, was in seen.items():
            found = rekam(clinic, word, patient, "--at", then, "--json").json()
            assert {**found, "at": None} == {**was, "at": None}
            assert rekam(clinic, word, patient, "--json").json() != was
    assert digest(clinic) != taken
    assert digest(clinic, "--at", moment()) == digest(clinic)


def test_the_past_says_so_while_no_checkpoint_covers_it(clinic: Path) -> None:
    then = moment()
    assert "no checkpoint covers" in rekam(clinic, "digest", "--at", then).err
    rekam(clinic, "replicate", "--once")
    assert "no checkpoint covers" not in rekam(clinic, "digest", "--at", then).err


def test_times_are_iso_8601_in_the_clinics_zone(clinic: Path, first: Path) -> None:
    patient = a_patient(clinic, first)["stream"]
    events = rekam(clinic, "history", patient, "--json").json()["events"]
    for event in events:
        for name in ("occurred_at", "recorded_at", "logged_at"):
            assert event[name].endswith("+07:00") and event[name][10] == "T"
    there = rekam(clinic, "history", patient, "--json", REKAM_CLINIC__ZONE="Asia/Jayapura").json()["events"]
    assert there[0]["logged_at"].endswith("+09:00")
    assert all(event["verdict"] == "applied" for event in events)
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))


def test_the_same_simulation_again_changes_nothing_and_reading_changes_nothing(clinic: Path) -> None:
    words = ("simulate", "--patients", "5", "--events", "200", "--seed", "7", "--json")
    assert rekam(clinic, *words).json()["skipped"] == 0
    before = digest(clinic)
    assert rekam(clinic, *words).json()["events"] == 0
    for reading in (["status"], ["points"], ["digest"], ["recover", "--to", "latest", "--dry-run"]):
        rekam(clinic, *reading, code=None)
    assert digest(clinic) == before


def test_two_simulations_with_one_seed_have_one_digest(tmp_path: Path) -> None:
    made = []
    for name in "ab":
        home = tmp_path / name
        rekam(home, "init")
        rekam(home, "simulate", "--patients", "5", "--events", "200", "--seed", "3")
        made.append(digest(home))
    assert made[0] == made[1]
