"""The laws over random lives, on what a clinic really has: files and folders; Kafka, PostgreSQL and S3.

The same lives and the same oracle as in test_laws.py, in real time; fewer and shorter, since servers take theirs.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from events.position import ACCESS, CONTROL, EVENTS
from replicator.directory_store import DirectoryStore
from replicator.s3_store import Bucket, S3Store
from tests.examples import examples
from tests.log_places import KafkaSite, SqliteSite
from tests.property.test_laws import Laws
from tests.real_systems import RealSystem, fresh_schema
from tests.servers import S3Bucket
from tests.systems import DyingStore, TestSystem


class RealLaws(Laws):
    most_writes = 4
    checked_times = 8


def live(machine: type[Laws], most: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(most),
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_laws_hold_in_files() -> None:
    class InFiles(RealLaws):
        def make_system(self, folder: Path) -> TestSystem:
            self.store = DyingStore(DirectoryStore(folder / "archive", create=True))
            counts = {EVENTS: 1, ACCESS: 1, CONTROL: 1}
            return RealSystem(SqliteSite(folder), self.store, f"sqlite:{folder / 'tables.db'}", counts)

    live(InFiles, most=5, steps=15)


@pytest.mark.kafka
@pytest.mark.postgresql
@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("partitions", [1, 3])
def test_the_laws_hold_on_servers(
    kafka_server: str, postgresql_database: str, s3_bucket: S3Bucket, partitions: int
) -> None:
    place: dict[str, Any] = {
        "endpoint": s3_bucket.endpoint,
        "access_key": s3_bucket.access,
        "secret_key": s3_bucket.secret,
    }

    class OnServers(RealLaws):
        def make_system(self, folder: Path) -> TestSystem:
            self.store = DyingStore(S3Store(Bucket(s3_bucket.name, uuid.uuid4().hex, **place)))
            counts = {EVENTS: partitions, ACCESS: 1, CONTROL: 1}
            tables = fresh_schema(postgresql_database)
            return RealSystem(KafkaSite(kafka_server), self.store, tables, counts)

    live(OnServers, most=2, steps=12)
