"""Fixtures that every test may use: servers, fresh databases and buckets, the full data set; and the process guard."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from sqlalchemy.engine import URL, make_url
from xdist.workermanage import WorkerController

from deploy.native.processes import Server
from tests import examples, leftovers
from tests.lending import Borrowed, Counter, Lender
from tests.servers import (
    REQUIRE_DATA,
    SHARED_DATA,
    VARIABLES,
    S3Bucket,
    S3Server,
    Servers,
    lack,
    prospect,
    shared_data_folder,
)

SERVERS = pytest.StashKey[Servers]()
LENDER = pytest.StashKey[Lender]()
COUNTER = "rekam_counter"

examples.load_profile()  # before any module of tests asks for settings


def pytest_configure(config: pytest.Config) -> None:
    told_a_worker = getattr(config, "workerinput", None)
    config.stash[SERVERS] = (
        Servers() if told_a_worker is None else Borrowed(counter=Counter(*told_a_worker[COUNTER]))
    )
    leftovers.adopt_orphans()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun as a script's background job
        # Our children would inherit that, and tests could not interrupt them.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many workers as processors are ours; none where single tests are named, which a debugger may want to enter."""
    return 0 if config.args and all("::" in named for named in config.args) else _processors()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tells a worker where to ask for servers."""
    stash = node.config.stash
    if LENDER not in stash:
        stash[LENDER] = Lender(stash[SERVERS])
    node.workerinput[COUNTER] = tuple(stash[LENDER].counter)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[SERVERS].discard()
    if LENDER in config.stash:
        config.stash[LENDER].close()


def pytest_report_header() -> list[str]:
    there = ", ".join(f"{name} {prospect(name)}" for name in VARIABLES)
    data = "there" if shared_data_folder().is_dir() else "absent"
    return [f"servers: {there}; full data set: {data}; examples: {examples.told()}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash[SERVERS].told
    terminalreporter.section("servers")
    for name in VARIABLES:
        terminalreporter.line(f"{name}: {told.get(name, f'no test asked for it ({prospect(name)})')}")


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """The session's servers; nothing is started before a test asks."""
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def kafka_server(servers: Servers) -> str:
    """The bootstrap address (host:port) of a broker that other tests use too: take topic names of your own."""
    return servers.address("kafka")["REKAM_TEST_KAFKA"]


@pytest.fixture(scope="session")
def postgresql_server(servers: Servers) -> str:
    """The administrator's URL (postgresql+psycopg://…) of a cluster that other tests use too."""
    return servers.address("postgresql")["REKAM_TEST_POSTGRESQL"]


@pytest.fixture(scope="session")
def s3_server(servers: Servers) -> S3Server:
    """An S3 server that other tests use too, with its administrator's credentials."""
    address = servers.address("s3")
    return S3Server(*(address[variable] for variable in VARIABLES["s3"]))


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """The name of an empty database that sorts text as people do.

    Tables must not depend on the database's collation; under this one a forgotten binary collation shows.
    """
    name = f"rekam_template_{secrets.token_hex(4)}"
    _administer(
        postgresql_server,
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
    )
    yield name
    _administer(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql_database(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """The URL (postgresql+psycopg://…) of an empty database of the test's own."""
    name = f"rekam_test_{secrets.token_hex(6)}"
    _administer(postgresql_server, f"CREATE DATABASE {name} TEMPLATE {postgresql_template}")
    yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    _administer(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[S3Bucket]:
    """A plain bucket of the test's own: no versions, no lock."""
    yield from _bucket(s3_server, locked=False)


@pytest.fixture
def s3_locked_bucket(s3_server: S3Server) -> Iterator[S3Bucket]:
    """A bucket of the test's own with versioning and Object Lock (no default retention)."""
    yield from _bucket(s3_server, locked=True)


@pytest.fixture
def own_server(servers: Servers) -> Iterator[Callable[[str], Server]]:
    """Starts a server ("kafka", "postgresql", "s3", "toxiproxy") for this test alone, to kill and restart."""
    started: list[Server] = []

    def start(name: str) -> Server:
        started.append(servers.own(name))
        return started[-1]

    yield start
    for server in started:
        server.discard()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the full data set, beside the checkout."""
    folder = shared_data_folder()
    if not folder.is_dir():
        lack(
            f"no full data set: {folder.name} is not beside the checkout, {SHARED_DATA} names none",
            REQUIRE_DATA,
        )
    return folder


@pytest.fixture(autouse=True)
def no_process_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """A test that leaves a child process behind fails, and the process is ended."""
    before = leftovers.children()
    yield
    known = [
        server.pid for server in pytestconfig.stash[SERVERS].started.values() if isinstance(server, Server)
    ]
    remaining = leftovers.left(before, known)
    for process in remaining:
        process.kill()
    if remaining:
        pytest.fail(
            f"child processes left behind: {', '.join(map(leftovers.described, remaining))}", pytrace=False
        )


def _processors() -> int:
    """How many this process may run on (where the system tells), else how many there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _administer(url: str, statement: str) -> None:
    address: URL = make_url(url).set(drivername="postgresql")
    with psycopg.connect(address.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statement.encode())


def _bucket(server: S3Server, *, locked: bool) -> Iterator[S3Bucket]:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access,
        aws_secret_access_key=server.secret,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    name = f"rekam-test-{secrets.token_hex(6)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
    if locked:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    yield S3Bucket(*server, name, locked)
    _empty_and_delete(client, name)
    client.close()


def _empty_and_delete(client, name: str) -> None:
    """Remove the bucket and what nothing locks; what a test locked stays until its server goes."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for found in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=found["Key"])
    try:
        client.delete_bucket(Bucket=name)
    except ClientError:
        return
