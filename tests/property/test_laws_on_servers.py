"""The laws over random lives, on what a clinic really has: files and folders; Kafka, PostgreSQL and S3.

The same lives and the same oracle as in test_laws.py and test_erased_stays_erased.py, in real time; fewer and shorter,
since servers take theirs.
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
from replicator.stores import ObjectStore
from tests.examples import examples
from tests.log_places import KafkaSite, SqliteSite
from tests.property.test_erased_stays_erased import Erasures
from tests.property.test_laws import Laws
from tests.real_systems import RealSystem, fresh_schema
from tests.servers import S3Bucket
from tests.systems import DyingStore, TestSystem

MACHINES = pytest.mark.parametrize("machine", [Laws, Erasures], ids=["laws", "erasures"])


def live(machine: type[Laws], most: int, steps: int) -> None:
    machine.most_writes, machine.checked_times = 4, 8
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


@MACHINES
def test_the_laws_hold_in_files(machine: type[Laws]) -> None:
    class InFiles(machine):  # type: ignore[valid-type, misc]
        def make_system(self, folder: Path) -> TestSystem:
            self.store = DyingStore(DirectoryStore(folder / "archive", create=True))
            counts = {EVENTS: 1, ACCESS: 1, CONTROL: 1}
            return RealSystem(
                SqliteSite(folder), self.store, f"sqlite:{folder / 'tables.db'}", counts, folder
            )

        def make_key_store(self, folder: Path) -> ObjectStore:
            return DirectoryStore(folder / "key-backups", create=True)

    live(InFiles, most=5, steps=15)


@pytest.mark.kafka
@pytest.mark.postgresql
@pytest.mark.s3
@pytest.mark.slow
@MACHINES
@pytest.mark.parametrize("partitions", [1, 3])
def test_the_laws_hold_on_servers(
    kafka_server: str, postgresql_database: str, s3_bucket: S3Bucket, partitions: int, machine: type[Laws]
) -> None:
    place: dict[str, Any] = {
        "endpoint": s3_bucket.endpoint,
        "access_key": s3_bucket.access,
        "secret_key": s3_bucket.secret,
    }

    def bucket() -> S3Store:
        return S3Store(Bucket(s3_bucket.name, uuid.uuid4().hex, **place))

    class OnServers(machine):  # type: ignore[valid-type, misc]
        def make_system(self, folder: Path) -> TestSystem:
            self.store = DyingStore(bucket())
            counts = {EVENTS: partitions, ACCESS: 1, CONTROL: 1}
            tables = fresh_schema(postgresql_database)
            return RealSystem(KafkaSite(kafka_server), self.store, tables, counts, folder)

        def make_key_store(self, folder: Path) -> ObjectStore:
            return bucket()

    live(OnServers, most=2, steps=12)
