"""A locked bucket with three credentials, on a real S3 server: what each may do, stolen or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.command_line import finish, rekam, start, wait_for
from tests.s3_users import Roles, client, with_roles
from tests.servers import S3Bucket

pytestmark = pytest.mark.s3
LOCK_DAYS = 3


@pytest.fixture
def roles(s3_locked_bucket: S3Bucket) -> Roles:
    return with_roles(s3_locked_bucket)


@pytest.fixture
def clinic(tmp_path: Path, s3_locked_bucket: S3Bucket, roles: Roles) -> Path:
    """Made, shipped with a snapshot, by the writer's credential alone."""
    home = tmp_path / "clinic"
    as_writer(
        home,
        roles,
        "init",
        "--archive",
        f"s3://{s3_locked_bucket.name}/clinic",
        "--endpoint",
        s3_locked_bucket.endpoint,
    )
    as_writer(home, roles, "simulate", "--patients", "3", "--events", "60", "--seed", "1")
    as_writer(home, roles, "replicate", "--once", "--snapshot")
    return home


def as_writer(home: Path, roles: Roles, *words: object, code: int = 0):
    return rekam(
        home, *words, code=code, REKAM_ARCHIVE__LOCK_DAYS=str(LOCK_DAYS), **roles.writer.environment()
    )


def as_(user, home: Path, *words: object, code: int = 0):
    return rekam(home, *words, code=code, **user.environment())


def refused(call) -> None:
    with pytest.raises(ClientError) as told:
        call()
    assert told.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403, 405, 412)


def keys(bucket: S3Bucket, roles: Roles, prefix: str = "") -> list[str]:
    listed = client(bucket, roles.owner).list_objects_v2(Bucket=bucket.name, Prefix=f"clinic/{prefix}")
    return [found["Key"] for found in listed.get("Contents", ())]


def versions_of(bucket: S3Bucket, roles: Roles, key: str) -> list[str]:
    found = client(bucket, roles.owner).list_object_versions(Bucket=bucket.name, Prefix=key)["Versions"]
    return [version["VersionId"] for version in found]


def test_a_stolen_writer_can_neither_read_records_nor_overwrite_nor_shorten_nor_delete(
    clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles
) -> None:
    bucket, writer = s3_locked_bucket.name, client(s3_locked_bucket, roles.writer)
    for key in (*keys(s3_locked_bucket, roles, "log/"), *keys(s3_locked_bucket, roles, "snapshots/")):
        refused(lambda: writer.get_object(Bucket=bucket, Key=key))  # noqa: B023
        refused(lambda: writer.delete_object(Bucket=bucket, Key=key))  # noqa: B023
        refused(lambda: writer.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))  # noqa: B023
        for version in client(s3_locked_bucket, roles.owner).list_object_versions(Bucket=bucket, Prefix=key)[
            "Versions"
        ]:
            which = {"Bucket": bucket, "Key": key, "VersionId": version["VersionId"]}
            refused(lambda: writer.delete_object(**which))  # noqa: B023
            soon = {
                "Mode": "COMPLIANCE",
                "RetainUntilDate": datetime.now(UTC) + timedelta(days=LOCK_DAYS - 1),
            }
            refused(lambda: writer.put_object_retention(**which, Retention=soon))  # noqa: B023
    refused(
        lambda: writer.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    )
    refused(lambda: writer.delete_bucket_policy(Bucket=bucket))


def test_what_a_thief_wrote_over_is_brought_back(
    clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles
) -> None:
    bucket = s3_locked_bucket.name
    segment, note = (
        keys(s3_locked_bucket, roles, "log/")[0],
        keys(s3_locked_bucket, roles, "checkpoints/")[-1],
    )
    for key in (segment, note, "clinic/archive.json"):
        client(s3_locked_bucket, roles.writer).put_object(Bucket=bucket, Key=key, Body=b"forged")
    as_(roles.restorer, clinic, "points", code=1)
    shown = as_(roles.restorer, clinic, "archive", "repair", "--dry-run", "--json").json()
    assert len(shown["hidden"]) == 3
    as_(roles.writer, clinic, "archive", "repair", code=1)
    done = as_(roles.owner, clinic, "archive", "repair", "--json").json()
    assert (done["rewritten"], done["undeleted"], done["lost"]) == (3, 0, [])
    as_(roles.restorer, clinic, "points")
    whole_recovery(clinic, roles)


def test_what_a_thief_deleted_is_brought_back_and_can_be_read_meanwhile(
    clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles, tmp_path: Path
) -> None:
    bucket, pruner = s3_locked_bucket.name, client(s3_locked_bucket, roles.pruner)
    for key in keys(s3_locked_bucket, roles):
        for version in client(s3_locked_bucket, roles.owner).list_object_versions(Bucket=bucket, Prefix=key)[
            "Versions"
        ]:
            refused(lambda: pruner.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"]))  # noqa: B023
        pruner.delete_object(Bucket=bucket, Key=key)
    assert keys(s3_locked_bucket, roles) == []
    told = as_(roles.restorer, clinic, "points", code=1)
    assert "archive.json is missing" in told.err
    done = as_(roles.owner, clinic, "archive", "repair", "--json").json()
    assert done["undeleted"] > 5
    whole_recovery(clinic, roles)


def whole_recovery(home: Path, roles: Roles) -> None:
    before = rekam(home, "digest", "--json").json()
    for lost in ("log.db", "tables.db"):
        (home / lost).unlink()
    as_writer_and_restorer(home, roles)
    assert rekam(home, "digest", "--json").json() == before


def as_writer_and_restorer(home: Path, roles: Roles) -> None:
    """A recovery reads and then writes a checkpoint: the owner's credential, or one that has both."""
    as_(roles.owner, home, "recover", "--to", "latest", "--yes")


def test_the_pruner_removes_what_no_lock_holds_and_reads_no_record(
    clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles
) -> None:
    bucket, pruner = s3_locked_bucket.name, client(s3_locked_bucket, roles.pruner)
    for key in keys(s3_locked_bucket, roles, "log/"):
        refused(lambda: pruner.get_object(Bucket=bucket, Key=key))  # noqa: B023
    orphan = "clinic/log/rekam.events/0/2026-03-01/00000000000000000000-1-" + "0" * 64 + ".avro"
    locked = orphan.replace("0.avro", "1.avro")
    owner = client(s3_locked_bucket, roles.owner)
    owner.put_object(Bucket=bucket, Key=orphan, Body=b"of a writer that died")
    lock = {
        "ObjectLockMode": "COMPLIANCE",
        "ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=1),
    }
    owner.put_object(Bucket=bucket, Key=locked, Body=b"locked", **lock)
    as_(roles.pruner, clinic, "archive", "prune", "--grace-days", "7", "--dry-run")
    assert orphan in keys(s3_locked_bucket, roles)
    told: list[dict] = []

    def pruned() -> bool:
        """The store's clock counts in seconds: what is a moment old is none too young in the next one."""
        words = ("archive", "prune", "--grace-days", "0", "--yes", "--json")
        told.append(as_(roles.pruner, clinic, *words).json())
        return orphan not in keys(s3_locked_bucket, roles)

    wait_for(pruned, "the orphan is removed")
    assert sum(done["removed"] for done in told) == 1
    wait_for(lambda: pruned() and told[-1]["locked"] == 1, "the locked one is tried")
    left = keys(s3_locked_bucket, roles)
    assert orphan not in left
    versions = owner.list_object_versions(Bucket=bucket, Prefix=orphan)
    assert not versions.get("Versions")
    assert not versions.get("DeleteMarkers")
    as_(roles.restorer, clinic, "points")


def test_the_writer_rotates_keys_and_ships_on(clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles) -> None:
    for what in (["signing"], ["recipients", "--new-identity"], ["signing"]):
        as_writer(clinic, roles, "keys", "rotate", *what, "--reason", "a test")
        as_writer(clinic, roles, "simulate", "--patients", "2", "--events", "20", "--seed", "2")
        as_writer(clinic, roles, "replicate", "--once")
    writer = client(s3_locked_bucket, roles.writer)
    for key in keys(s3_locked_bucket, roles, "recipients/"):
        refused(lambda: writer.get_object(Bucket=s3_locked_bucket.name, Key=key))  # noqa: B023
    as_(roles.restorer, clinic, "audit", "verify", "--depth", "records")


def test_locks_of_what_is_needed_are_lengthened(
    clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles
) -> None:
    from services.home import Home
    from services.replicating import lengthen_locks
    from services.settings import ArchiveSettings

    owner, bucket = client(s3_locked_bucket, roles.owner), s3_locked_bucket.name
    key = keys(s3_locked_bucket, roles, "log/")[0]
    before = owner.get_object_retention(Bucket=bucket, Key=key)["Retention"]["RetainUntilDate"]
    home = Home.open(clinic)
    changes = {
        "lock_days": LOCK_DAYS + 4,
        "access_key": roles.writer.access,
        "secret_key": roles.writer.secret,
    }
    longer: ArchiveSettings = home.settings.archive.model_copy(update=changes)
    home.settings.archive = longer
    assert lengthen_locks(home) == len(keys(s3_locked_bucket, roles))
    after = owner.get_object_retention(Bucket=bucket, Key=key)["Retention"]["RetainUntilDate"]
    assert after - before > timedelta(days=3)


def test_locks_that_cannot_be_lengthened_are_told_and_shipping_goes_on(
    clinic: Path, s3_locked_bucket: S3Bucket, roles: Roles
) -> None:
    """Such as those that were longer than the term that is set now: nobody may shorten them."""
    as_(roles.owner, clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    held = len(keys(s3_locked_bucket, roles, "checkpoints/"))
    settings = {"REKAM_ARCHIVE__LOCK_DAYS": "1", "REKAM_REPLICATOR__INTERVAL_SECONDS": "0.2"}
    process = start(clinic, "replicate", **settings, **roles.writer.environment())
    try:
        wait_for(lambda: len(keys(s3_locked_bucket, roles, "checkpoints/")) > held, "the next checkpoint")
    finally:
        process.terminate()
        ran = finish(process)
    assert "locks were not lengthened" in ran.err
