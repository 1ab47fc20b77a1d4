"""Real servers for benchmarks: an address in the environment (REKAM_TEST_…), else one started natively, else none."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import boto3
import psycopg
from kafka.admin import KafkaAdminClient
from sqlalchemy.engine import URL, make_url

from benchmarks.harness import Missing
from deploy.native.processes import Lacking
from deploy.native.servers import prepare
from events.position import TOPICS
from services.settings import ArchiveSettings

KAFKA, POSTGRESQL, S3 = "REKAM_TEST_KAFKA", "REKAM_TEST_POSTGRESQL", "REKAM_TEST_S3"


@contextmanager
def address(name: str, variable: str) -> Iterator[str]:
    """Where the server `name` is; one that was started here is stopped at the end. Raises Missing."""
    with environment(name, variable) as told:
        yield told[variable]


@contextmanager
def environment(name: str, variable: str) -> Iterator[Mapping[str, str]]:
    """What is to be known of the server `name`, as the environment tells it. Raises Missing."""
    if os.environ.get(variable):
        yield os.environ
        return
    try:
        server = prepare(name).start(bound=True)
    except Lacking as error:
        raise Missing(f"no {name} server: {error}") from error
    try:
        yield server.environment
    finally:
        server.discard()


@contextmanager
def database() -> Iterator[str]:
    """The URL of a new PostgreSQL database, dropped at the end. Raises Missing."""
    with address("postgresql", POSTGRESQL) as url:
        administrator = make_url(url)
        name = f"bench_{secrets.token_hex(6)}"
        _administer(administrator, f'CREATE DATABASE "{name}"')
        try:
            yield administrator.set(database=name).render_as_string(hide_password=False)
        finally:
            _administer(administrator, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def new_topics() -> Iterator[str]:
    """The URL of a log on Kafka that nobody made yet; its topics are deleted at the end. Raises Missing."""
    with address("kafka", KAFKA) as server:
        prefix = f"bench-{secrets.token_hex(4)}."
        try:
            yield f"kafka://{server}/{prefix}?partitions=1&replication=1"
        finally:
            delete_topics(server, [f"{prefix}{topic}" for topic in TOPICS])


@contextmanager
def bucket() -> Iterator[ArchiveSettings]:
    """A new bucket on the S3 server, emptied and deleted at the end. Raises Missing."""
    with environment("s3", S3) as told:
        endpoint, access, secret = (told[f"{S3}{end}"] for end in ("", "_ACCESS", "_SECRET"))
        name = f"bench-{secrets.token_hex(6)}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret
        )
        client.create_bucket(Bucket=name)
        try:
            yield ArchiveSettings(
                url=f"s3://{name}/archive", endpoint=endpoint, access_key=access, secret_key=secret
            )
        finally:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
                for held in page.get("Contents", ()):
                    client.delete_object(Bucket=name, Key=held["Key"])
            client.delete_bucket(Bucket=name)


def delete_topics(server: str, names: Sequence[str]) -> None:
    """Takes a benchmark's topics off a broker that may be somebody's; those that are not there are passed over."""
    administrator = KafkaAdminClient(bootstrap_servers=server.split(","))
    try:
        standing = set(administrator.list_topics())
        administrator.delete_topics([name for name in names if name in standing])
    finally:
        administrator.close()


def plain(url: str) -> str:
    """The URL as psycopg takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _administer(url: URL, statement: str) -> None:
    with psycopg.connect(plain(url.render_as_string(hide_password=False)), autocommit=True) as connection:
        connection.execute(statement)
