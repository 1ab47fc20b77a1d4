"""The main job on every mix of log, tables and archive: recorded, shipped, spoiled, lost, recovered both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree

import pytest

from tests.clinics import Clinic, kafka_url, sample
from tests.command_line import moment
from tests.servers import S3Bucket

LOGS = {"sqlite-log": (), "kafka": (pytest.mark.kafka,), "kafka-3": (pytest.mark.kafka,)}
TABLES = {"sqlite-tables": (), "postgresql": (pytest.mark.postgresql,)}
ARCHIVES = {"folder": (), "s3": (pytest.mark.s3,)}
MIXES = [
    pytest.param(
        log, tables, archive, id=f"{log}+{tables}+{archive}", marks=[*of_log, *of_tables, *of_archive]
    )
    for log, of_log in LOGS.items()
    for tables, of_tables in TABLES.items()
    for archive, of_archive in ARCHIVES.items()
    if log != "kafka-3" or (tables, archive) in (("postgresql", "s3"), ("sqlite-tables", "folder"))
]

NewClinic = Callable[..., Clinic]


@pytest.fixture
def new_clinic(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewClinic]:
    """Makes a clinic on a mix."""
    with ExitStack() as stack:

        def make(log: str, tables: str, archive: str) -> Clinic:
            clinic = Clinic(
                tmp_path / "home",
                bucket=request.getfixturevalue("s3_bucket") if archive == "s3" else None,
            )
            if log.startswith("kafka"):
                servers = request.getfixturevalue("kafka_server")
                clinic.log = stack.enter_context(kafka_url(servers, 3 if log == "kafka-3" else 1))
            if tables == "postgresql":
                clinic.tables = request.getfixturevalue("postgresql_database")
            return clinic.init()

        yield make


@pytest.mark.parametrize(("log", "tables", "archive"), MIXES)
def test_the_main_job(new_clinic: NewClinic, tmp_path: Path, log: str, tables: str, archive: str) -> None:
    first, rest, later = sample(tmp_path, 200, 100, 60)
    clinic = new_clinic(log, tables, archive)
    assert sum(clinic.take(first)["mapped"].values()) == 200
    early, at_early = clinic.digest(), moment()
    clinic.ship("--snapshot")
    clinic.take(rest)
    late, at_late = clinic.digest(), moment()
    assert late != early
    assert clinic.void_by_mistake(25) == 25
    assert clinic.digest()["observations"] != late["observations"]
    clinic.ship()

    clinic.lose_tables()
    report = clinic.recover(at_late)
    assert clinic.digest() == late
    assert (report["restore_log"], report["rewind"], report["set_aside_records"]) == (False, True, 25)
    clinic.take(rest)
    assert clinic.digest() == late, "what is there already changes nothing"

    clinic.lose_log()
    report = clinic.recover(at_early)
    assert clinic.digest() == early
    assert (report["restore_log"], report["rewind"]) == (True, True)

    clinic.lose_log()
    clinic.lose_tables()
    report = clinic.recover(at_late)
    assert clinic.digest() == late, "later than the moment before: what was set aside is in effect again"
    assert report["verified"]["journal"] == 325

    clinic.take(later)
    assert clinic.digest() != late
    assert clinic.digest("--at", at_late) == late
    shipped = clinic.ship()
    assert shipped["position"]["rekam.events/0"] > 0
    status = clinic.status()
    assert status["status"] == "green", status["findings"]
    assert status["unshipped_records"] == 0


@pytest.mark.kafka
@pytest.mark.postgresql
@pytest.mark.s3
def test_an_empty_machine_adopts_an_archive(
    kafka_server: str, postgresql_database: str, s3_bucket: S3Bucket, tmp_path: Path
) -> None:
    """Log, tables and home are gone: the archive, its credentials and the owner's file bring a clinic back."""
    first, rest = sample(tmp_path, 200, 60)
    lost = Clinic(tmp_path / "lost", bucket=s3_bucket)
    with kafka_url(kafka_server) as lost.log:
        lost.init()
        lost.take(first)
        patient = json.loads(first.read_bytes().splitlines()[0])["id"]
        scan = tmp_path / "scan.pdf"
        scan.write_bytes(bytes(range(256)) * 200)
        document = lost.do("attach", patient, str(scan), "--json").json()["document"]
        lost.ship("--snapshot")
        truth = lost.digest()
        owner = tmp_path / "owner.txt"
        (lost.home / "keys" / "owner.txt").rename(owner)
    rmtree(lost.home)
    with kafka_url(kafka_server) as url:
        clinic = Clinic(tmp_path / "new", url, postgresql_database, environment=lost.environment)
        places = ["--log", url, "--tables", postgresql_database, "--endpoint", s3_bucket.endpoint]
        clinic.do("init", "--from", lost.archive, "--identity", str(owner), *places)
        report = clinic.recover("latest")
        assert clinic.digest() == truth
        assert (report["restored_records"], report["verified"]["journal"]) == (202, 201)
        clinic.do("attachment", patient, document, "-o", str(tmp_path / "back.pdf"))
        assert (tmp_path / "back.pdf").read_bytes() == scan.read_bytes()
        clinic.take(rest)
        assert sum(clinic.take(first)["mapped"].values()) == 200
        assert clinic.status()["status"] == "green"


@pytest.mark.postgresql
def test_digests_are_the_same_on_both_databases(tmp_path: Path, postgresql_database: str) -> None:
    """The same events in SQLite and in PostgreSQL, one after another and in bulk."""
    clinic = Clinic(tmp_path / "home").init()
    (file,) = sample(tmp_path, 1000)
    clinic.take(file)
    clinic.void_by_mistake(25)
    truth = clinic.digest()
    assert {name: table["rows"] for name, table in truth.items()}["observations"] > 50
    clinic.ship("--snapshot")
    other = Clinic(clinic.home, tables=postgresql_database)
    other.environment["REKAM_TABLES__URL"] = postgresql_database
    other.do("project", "--once")
    assert other.digest() == truth
    other.lose_tables()
    assert other.recover("latest")["tables"] == "rebuild"
    assert other.digest() == truth
    assert clinic.digest() == truth
