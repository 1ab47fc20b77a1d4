"""The servers that tests get are real: each does the thing for which Rekam needs a real one, and survives a kill."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.native import installing, servers
from deploy.native.processes import Server, birth, is_running, wait_until
from tests.servers import REQUIRE_SERVERS, S3Bucket, lack


def s3_client(bucket: S3Bucket):
    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        aws_access_key_id=bucket.access,
        aws_secret_access_key=bucket.secret,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def append_and_read(bootstrap: str, topic: str, value: bytes) -> list[bytes]:
    """Append one value and read the whole partition back."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    offset = producer.send(topic, value=value, partition=0).get(timeout=30).offset
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    values: list[bytes] = []
    while consumer.position(partition) <= offset:
        for records in consumer.poll(timeout_ms=1000).values():
            values += [record.value for record in records]
    consumer.close()
    return values


def create_topic(bootstrap: str, topic: str, **settings: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1, topic_configs=settings)])
    admin.close()


@pytest.mark.kafka
def test_the_broker_keeps_what_it_acknowledged(kafka_server: str) -> None:
    topic = f"servers-{datetime.now(UTC):%H%M%S%f}"
    create_topic(kafka_server, topic, **{"message.timestamp.type": "LogAppendTime"})
    assert append_and_read(kafka_server, topic, b"first") == [b"first"]


@pytest.mark.kafka
@pytest.mark.slow
def test_a_killed_broker_starts_again_with_its_data(own_server: Callable[[str], Server]) -> None:
    broker = own_server("kafka")
    bootstrap = broker.environment["REKAM_TEST_KAFKA"]
    create_topic(bootstrap, "kept")
    append_and_read(bootstrap, "kept", b"before")
    broker.kill()
    assert not broker.alive()
    broker.start(bound=True)
    assert append_and_read(bootstrap, "kept", b"after") == [b"before", b"after"]


@pytest.mark.postgresql
def test_a_database_is_empty_and_sorts_as_people_do(postgresql_database: str) -> None:
    with psycopg.connect(postgresql_database.replace("+psycopg", "")) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
        order = connection.execute("select v from (values ('B'), ('a')) as t (v) order by v").fetchall()
        binary = connection.execute(
            "select v from (values ('B'), ('a')) as t (v) order by v collate \"C\""
        ).fetchall()
    assert tables == (0,)
    assert [row[0] for row in order] == ["a", "B"]
    assert [row[0] for row in binary] == ["B", "a"]


@pytest.mark.postgresql
def test_a_killed_cluster_starts_again_with_its_data(own_server: Callable[[str], Server]) -> None:
    cluster = own_server("postgresql")
    url = cluster.environment["REKAM_TEST_POSTGRESQL"].replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 7 as n")
    cluster.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)
    cluster.start(bound=True)
    with psycopg.connect(url) as connection:
        assert connection.execute("select n from kept").fetchone() == (7,)


@pytest.mark.s3
def test_a_bucket_refuses_a_second_object_at_a_key(s3_bucket: S3Bucket) -> None:
    client = s3_client(s3_bucket)
    client.put_object(Bucket=s3_bucket.name, Key="a/b", Body=b"one", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=s3_bucket.name, Key="a/b", Body=b"two", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert client.get_object(Bucket=s3_bucket.name, Key="a/b")["Body"].read() == b"one"


@pytest.mark.s3
def test_a_locked_version_cannot_be_deleted(s3_locked_bucket: S3Bucket) -> None:
    client = s3_client(s3_locked_bucket)
    until = datetime.now(UTC) + timedelta(minutes=5)
    stored = client.put_object(
        Bucket=s3_locked_bucket.name,
        Key="kept",
        Body=b"one",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )
    with pytest.raises(ClientError):
        client.delete_object(Bucket=s3_locked_bucket.name, Key="kept", VersionId=stored["VersionId"])
    assert client.get_object(Bucket=s3_locked_bucket.name, Key="kept")["Body"].read() == b"one"


@pytest.mark.data
def test_the_full_data_set_has_a_file_for_each_type(shared_data: Path) -> None:
    files = {path.name.partition(".")[0] for path in shared_data.glob("synthea/fhir-r4-ndjson/*.ndjson.xz")}
    assert {"Patient", "Encounter", "Observation", "Claim"} <= files


@pytest.fixture
def native_gateway() -> None:
    """The tests below start the gateway themselves; an address in the environment is no help to them."""
    if not installing.is_installed("s3"):
        lack("the S3 gateway is not installed on this machine", REQUIRE_SERVERS)


@pytest.mark.s3
def test_a_set_of_servers_is_started_told_and_stopped(
    native_gateway: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "set.json"
    chosen = ["--state", str(state)]
    assert servers.main(["start", "s3", *chosen]) == 0
    addresses = capsys.readouterr().out
    told = dict(word.split("=", 1) for word in shlex.split(addresses) if "=" in word)
    assert set(told) == {"REKAM_TEST_S3", "REKAM_TEST_S3_ACCESS", "REKAM_TEST_S3_SECRET"}
    (entry,) = json.loads(state.read_text())
    assert state.stat().st_mode & 0o077 == 0
    assert servers.main(["start", "s3", *chosen]) == 0
    assert capsys.readouterr().out == addresses
    assert servers.main(["start", "s3", "postgresql", *chosen]) == 1
    assert "names other servers that run" in capsys.readouterr().err
    assert servers.main(["status", *chosen]) == 0
    assert servers.main(["stop", *chosen]) == 0
    assert not is_running(entry["pid"], entry["born"])
    assert not Path(entry["folder"]).exists()
    assert not state.exists()


@pytest.mark.s3
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can bind a process to its parent's life")
def test_a_bound_server_dies_with_a_killed_session(native_gateway: None) -> None:
    starts = "from deploy.native.servers import prepare; s = prepare('s3').start(bound=True)"
    starts = f"{starts}; print(s.pid, s.folder, flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", starts], stdin=pipe, stdout=pipe, text=True) as session:
        assert session.stdout is not None
        pid, folder = session.stdout.readline().split()
        born = birth(int(pid))
        assert is_running(int(pid), born)
        session.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not is_running(int(pid), born), 5)
    shutil.rmtree(folder)
