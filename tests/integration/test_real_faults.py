"""What servers do to a clinic: they are not there, are killed under a command, lose topics, take foreign records."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError

from deploy.native.processes import Server, free_port, wait_until
from events.errors import TooLarge
from events.kafka_log.address import parse_address
from events.kafka_log.topics import Topics
from events.log import MAX_VALUE_BYTES, Entry
from events.position import EVENTS
from tests.clinics import Clinic, delete_topics, kafka_url, sample
from tests.command_line import Ran, finish
from tests.servers import S3Bucket

DEADLINE_SECONDS = 3
"""What the clinics here give a server to answer."""
ALLOWANCE_SECONDS = 25
"""Beside it: for a machine that is busy with other tests."""
END_SECONDS = 90
"""What a command may take to end, whatever happened to its server."""
MANY = 3_000


def complaint(told: Ran) -> str:
    """The one line of an error with its hint; asserts that there is nothing else to it."""
    assert told.code in (1, 2), told
    lines = told.err.strip().splitlines()
    assert "Traceback" not in told.err, told.err
    (error,) = (line for line in lines if line.startswith("error: "))
    assert any(line.startswith("hint: ") for line in lines), told.err
    return error


def events_on(clinic: Clinic) -> int:
    with clinic.surroundings() as home, closing(home.log()) as log:
        return sum(log.end().of(EVENTS).values())


def whole(clinic: Clinic, resources: int) -> None:
    """Every resource stands once, and nothing else does."""
    digest = clinic.digest()
    assert digest["resources"]["rows"] == digest["events"]["rows"] == resources
    status = clinic.status()
    assert status["status"] != "red", status["findings"]
    assert status["verdicts"]["applied"] == resources


# -- not there at the start ------------------------------------------------------------------------------------------


def nowhere(kind: str) -> dict[str, str]:
    """Settings that name a server where none listens."""
    port = free_port()
    return {
        "kafka": {"REKAM_LOG__URL": f"kafka://127.0.0.1:{port}/?deadline_seconds={DEADLINE_SECONDS}"},
        "postgresql": {"REKAM_TABLES__URL": f"postgresql+psycopg://rekam:secret@127.0.0.1:{port}/rekam"},
        "s3": {
            "REKAM_ARCHIVE__URL": "s3://bucket/clinic",
            "REKAM_ARCHIVE__ENDPOINT": f"http://127.0.0.1:{port}",
            "REKAM_ARCHIVE__PATIENCE_SECONDS": str(DEADLINE_SECONDS),
            "REKAM_ARCHIVE__ACCESS_KEY": "nobody",
            "REKAM_ARCHIVE__SECRET_KEY": "secret",
        },
    }[kind]


COMMANDS = {
    "import": ("kafka", "postgresql"),
    "project": ("kafka", "postgresql"),
    "replicate": ("kafka", "s3"),
    "recover": ("kafka", "postgresql", "s3"),
    "points": ("s3",),
    "digest": ("postgresql",),
}


@pytest.mark.parametrize(
    ("command", "missing"), [(command, kind) for command, kinds in COMMANDS.items() for kind in kinds]
)
def test_a_server_that_is_not_there_is_told_in_time(tmp_path: Path, command: str, missing: str) -> None:
    (file,) = sample(tmp_path, 20)
    clinic = Clinic(tmp_path / "home").init()
    clinic.take(file)
    clinic.ship()
    truth = clinic.digest()
    words = {
        "import": ("import", "fhir", str(file)),
        "project": ("project", "--once"),
        "replicate": ("replicate", "--once"),
        "recover": ("recover", "--to", "latest", "--yes"),
    }.get(command, (command,))
    there = dict(clinic.environment)
    clinic.environment |= nowhere(missing)
    began = time.monotonic()
    told = clinic.run(*words)
    assert time.monotonic() - began < 3 * DEADLINE_SECONDS + ALLOWANCE_SECONDS
    assert told.code == 1
    assert "secret" not in complaint(told)
    clinic.environment = there
    assert clinic.digest() == truth, "nothing was changed"
    clinic.do(*words)


@pytest.mark.parametrize("missing", ["kafka", "postgresql", "s3"])
def test_a_status_says_what_does_not_answer(tmp_path: Path, missing: str) -> None:
    clinic = Clinic(tmp_path / "home").init()
    clinic.ship()
    clinic.environment |= nowhere(missing)
    status = clinic.status()
    assert status["status"] == "red"
    assert clinic.run("status").code == 1


# -- killed in the middle --------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (file,) = sample(tmp_path, MANY)
    return file


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_killed_under_import_and_shipping(
    own_server: Callable[[str], Server], many: Path, tmp_path: Path
) -> None:
    broker = own_server("kafka")
    clinic = Clinic(
        tmp_path / "home",
        f"kafka://{broker.environment['REKAM_TEST_KAFKA']}/?deadline_seconds={DEADLINE_SECONDS + 2}",
    ).init()
    with clinic.child("import", "fhir", str(many), "--json") as importer:
        assert wait_until(lambda: importer.poll() is not None or rows(clinic) > 0, 60)
        broker.kill()
        told = finish(importer, None, END_SECONDS)
    assert told.code == 1, "the broker was killed too late to matter"
    complaint(told)
    assert clinic.status()["status"] == "red"
    shipping = clinic.run("replicate", "--once")
    complaint(shipping)
    broker.start(bound=True)
    until_it_works(clinic, "replicate", "--once")
    assert sum(clinic.take(many)["mapped"].values()) == MANY
    whole(clinic, MANY)
    clinic.ship()
    truth = clinic.digest()
    clinic.lose_log()
    clinic.lose_tables()
    clinic.recover("latest")
    assert clinic.digest() == truth
    whole(clinic, MANY)


def rows(clinic: Clinic) -> int:
    """Records that the tables cover, asked without opening the log."""
    with clinic.surroundings() as home, closing(home.tables()) as tables:
        return tables.position().records()


def until_it_works(clinic: Clinic, *words: str, seconds: float = 60) -> None:
    """A server that was just started may still refuse; what then comes must be an error for people."""
    deadline = time.monotonic() + seconds
    while (told := clinic.run(*words)).code:
        complaint(told)
        assert time.monotonic() < deadline, told.err


@pytest.mark.kafka
@pytest.mark.slow
def test_what_runs_all_day_waits_for_its_broker(own_server: Callable[[str], Server], tmp_path: Path) -> None:
    """`rekam run` goes on by itself, and everything is projected and shipped."""
    first, rest = sample(tmp_path, 200, 200)
    broker = own_server("kafka")
    clinic = Clinic(
        tmp_path / "home",
        f"kafka://{broker.environment['REKAM_TEST_KAFKA']}/?deadline_seconds={DEADLINE_SECONDS}",
    ).init()
    clinic.environment["REKAM_REPLICATOR__INTERVAL_SECONDS"] = "0.2"
    clinic.take(first)
    with clinic.child("run") as running:
        assert wait_until(lambda: shipped_events(clinic) == 200, 60)
        broker.kill()
        assert running.stderr is not None
        assert any("waits" in line for line in running.stderr)  # behind the line that says that it runs
        broker.start(bound=True)
        until_it_works(clinic, "import", "fhir", str(rest))
        assert wait_until(lambda: shipped_events(clinic) == 400, 60)
        running.send_signal(signal.SIGTERM)
        told = finish(running, None, END_SECONDS)
    assert told.code == 0, told.err
    whole(clinic, 400)


def shipped_events(clinic: Clinic) -> int:
    with clinic.surroundings() as home:
        return sum(home.archive().end().of(EVENTS).values())


@pytest.mark.postgresql
@pytest.mark.slow
def test_a_database_killed_under_import_and_projecting(
    own_server: Callable[[str], Server], many: Path, tmp_path: Path
) -> None:
    database = own_server("postgresql")
    clinic = Clinic(tmp_path / "home", tables=database.environment["REKAM_TEST_POSTGRESQL"]).init()
    with clinic.child("import", "fhir", str(many)) as importer:
        assert wait_until(lambda: importer.poll() is not None or events_on(clinic) > 0, 60)
        database.kill()
        told = finish(importer, None, END_SECONDS)
    assert told.code == 1, "the database was killed too late to matter"
    complaint(told)
    database.start(bound=True)
    assert sum(clinic.take(many)["mapped"].values()) == MANY
    whole(clinic, MANY)
    truth = clinic.digest()
    for _ in range(10):  # it may be through before it is killed, even if it cannot say so any more
        clinic.lose_tables()
        with clinic.child("project", "--once") as projector:
            assert wait_until(lambda: projector.poll() is not None or cursor(clinic) > 0, 60)
            database.kill()
            told = finish(projector, None, END_SECONDS)
        database.start(bound=True)
        if told.code and cursor(clinic) < MANY:
            break
    complaint(told)
    assert 0 < cursor(clinic) < MANY
    clinic.do("project", "--once")
    assert clinic.digest() == truth
    whole(clinic, MANY)


def cursor(clinic: Clinic) -> int:
    """How many records the database says that it covers; 0 where there is nothing yet."""
    try:
        with psycopg.connect(clinic.tables.replace("+psycopg", ""), connect_timeout=2) as connection:
            row = connection.execute("SELECT coalesce(sum(next_offset), 0) FROM rekam.cursor").fetchone()
            return int(row[0]) if row else 0
    except psycopg.errors.UndefinedTable:
        return 0


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("patience_seconds", [1, 60])
def test_a_store_killed_under_shipping(
    own_server: Callable[[str], Server], many: Path, tmp_path: Path, patience_seconds: int
) -> None:
    """Patient enough, the shipper outlasts it; else it says so, and the same command ships the rest."""
    store = own_server("s3")
    names = ("REKAM_TEST_S3", "REKAM_TEST_S3_ACCESS", "REKAM_TEST_S3_SECRET")
    bucket = S3Bucket(*(store.environment[name] for name in names), "clinic", False)
    make_bucket(bucket)
    clinic = Clinic(tmp_path / "home", bucket=bucket).init()
    clinic.environment |= {
        "REKAM_REPLICATOR__SEGMENT_BYTES": str(64 * 1024),
        "REKAM_ARCHIVE__PATIENCE_SECONDS": str(patience_seconds),
    }
    clinic.take(many)
    truth = clinic.digest()
    before = objects(clinic)
    with clinic.child("replicate", "--once", "--snapshot") as shipper:
        assert wait_until(lambda: shipper.poll() is not None or objects(clinic) > before, 60)
        store.kill()
        if patience_seconds > DEADLINE_SECONDS:
            store.start(bound=True)
        told = finish(shipper, None, END_SECONDS)
    if patience_seconds > DEADLINE_SECONDS:
        assert told.code == 0, told.err
    else:
        assert told.code == 1, "the store was killed too late to matter"
        complaint(told)
        complaint(clinic.run("points"))
        store.start(bound=True)
        clinic.ship("--snapshot")
    assert clinic.status()["unshipped_records"] == 0
    clinic.lose_log()
    clinic.lose_tables()
    clinic.recover("latest")
    assert clinic.digest() == truth
    whole(clinic, MANY)


def make_bucket(bucket: S3Bucket) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        aws_access_key_id=bucket.access,
        aws_secret_access_key=bucket.secret,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket.name)
    client.close()


def objects(clinic: Clinic) -> int:
    with clinic.surroundings() as home:
        return sum(1 for _ in home.store().list(""))


# -- topics that are not what they were --------------------------------------------------------------------------------


@pytest.fixture
def on_kafka(kafka_server: str, tmp_path: Path) -> Iterator[Clinic]:
    with kafka_url(kafka_server) as url:
        yield Clinic(tmp_path / "home", url).init()


def administration(clinic: Clinic) -> Topics:
    return Topics(parse_address(clinic.log))


@pytest.mark.kafka
@pytest.mark.parametrize("refilled", [False, True])
@pytest.mark.parametrize("lost", [(EVENTS,), ()], ids=["events", "all"])
def test_a_topic_made_again_is_never_a_shorter_history(
    on_kafka: Clinic, tmp_path: Path, lost: tuple[str, ...], refilled: bool
) -> None:
    clinic = on_kafka
    first, rest = sample(tmp_path, 200, 60)
    clinic.take(first)
    clinic.ship("--snapshot")
    truth = clinic.digest()
    delete_topics(clinic.log, lost)
    with closing(administration(clinic)) as topics:
        topics.make({EVENTS: 1} if lost else {EVENTS: 1, "rekam.access": 1, "rekam.control": 1})
    if refilled:
        refill(clinic, 300)
    for words in (
        ("import", "fhir", str(rest)),
        ("replicate", "--once"),
        ("project", "--once"),
        ("recover", "--to", "latest", "--yes"),
        ("digest",),
    ):
        told = clinic.run(*words)
        assert told.code == 1, f"{words}: {told}"
        complaint(told)
    assert clinic.status()["status"] == "red"
    clinic.lose_log()
    clinic.recover("latest")
    assert clinic.digest() == truth
    clinic.take(rest)
    whole(clinic, 260)


def refill(clinic: Clinic, count: int) -> None:
    """Other records where ours were, as many and more."""
    address = parse_address(clinic.log)
    producer = KafkaProducer(bootstrap_servers=list(address.servers), acks="all")
    for name in (EVENTS, "rekam.access", "rekam.control"):
        for n in range(count):
            producer.send(address.physical(name), b"other %d" % n, b"k", partition=0)
    producer.flush(30)
    producer.close()


@pytest.mark.kafka
def test_wrong_settings_of_a_topic_are_refused_by_name(on_kafka: Clinic, tmp_path: Path) -> None:
    clinic = on_kafka
    (file,) = sample(tmp_path, 20)
    clinic.take(file)
    truth = clinic.digest()
    with closing(administration(clinic)) as topics:
        topics.set([EVENTS], {"retention.ms": "86400000"})
        for words in (("import", "fhir", str(file)), ("replicate", "--once"), ("project", "--once")):
            told = clinic.run(*words)
            assert told.code == 2
            assert "rekam.events: retention.ms is 86400000, not -1" in complaint(told)
        assert clinic.status()["status"] == "red"
        topics.set([EVENTS], {"retention.ms": "-1"})
    clinic.take(file)
    assert clinic.digest() == truth


# -- foreign records ---------------------------------------------------------------------------------------------------


@pytest.mark.kafka
def test_foreign_records_block_nothing_and_are_kept(on_kafka: Clinic, tmp_path: Path) -> None:
    """An unknown fingerprint, noise, no value, no key, and a value over our limit that the brokers take."""
    clinic = on_kafka
    first, rest = sample(tmp_path, 200, 60)
    clinic.take(first)
    foreign: list[tuple[bytes | None, bytes | None]] = [
        (b"patient-1", b"\xc3\x01" + b"\x99" * 8 + b"whatever"),
        (b"patient-1", b"noise"),
        (b"patient-1", None),
        (None, b"\xc3\x01"),
        (b"patient-1", bytes(MAX_VALUE_BYTES + 1)),
    ]
    produce(clinic, foreign)
    told = clinic.take(rest)
    assert sum(told["mapped"].values()) == 60
    status = clinic.status()
    assert (status["status"], status["unreadable"]) == ("yellow", len(foreign))
    whole(clinic, 260)
    clinic.ship("--snapshot")
    truth, held = clinic.digest(), values(clinic)
    assert [value for value in held if value is None or len(value) > MAX_VALUE_BYTES] == [None, foreign[4][1]]
    clinic.lose_log()
    clinic.lose_tables()
    clinic.recover("latest")
    assert clinic.digest() == truth
    assert values(clinic) == held
    assert clinic.status()["unreadable"] == len(foreign)


def produce(clinic: Clinic, records: list[tuple[bytes | None, bytes | None]]) -> None:
    address = parse_address(clinic.log)
    producer = KafkaProducer(
        bootstrap_servers=list(address.servers), acks="all", max_request_size=32 * 1024 * 1024
    )
    try:
        for key, value in records:
            producer.send(address.physical(EVENTS), value, key, partition=0).get(timeout=30)
    finally:
        producer.close()


def values(clinic: Clinic) -> list[bytes | None]:
    with clinic.surroundings() as home, closing(home.log()) as log:
        return [
            record.value
            for partition, stop in log.end().of(EVENTS).items()
            for batch in log.read(partition, 0, stop)
            for record in batch
        ]


@pytest.mark.kafka
def test_a_value_over_the_limits_is_refused_by_us_and_by_the_brokers(on_kafka: Clinic) -> None:
    clinic = on_kafka
    with pytest.raises(MessageSizeTooLargeError):
        produce(clinic, [(b"k", bytes(9 * 1024 * 1024))])
    with clinic.surroundings() as home, closing(home.log()) as log:
        with pytest.raises(TooLarge):
            log.append(EVENTS, [Entry(b"k", b"one"), Entry(b"k", bytes(MAX_VALUE_BYTES + 1))])
        assert log.end().records() == 0
        (placed,) = log.append(EVENTS, [Entry(b"k", bytes(MAX_VALUE_BYTES))])
        assert placed.offset == 0
    assert clinic.status()["unreadable"] == 0, "the tables were not asked to follow yet"


# -- two at once ----------------------------------------------------------------------------------------------------


@pytest.mark.s3
@pytest.mark.slow
def test_two_shippers_at_once_make_one_archive(s3_bucket: S3Bucket, tmp_path: Path) -> None:
    """Each checkpoint is one shipper's; what the other stored for it is an orphan, and nothing stands twice."""
    files = sample(tmp_path, 400, 400, 400)
    clinic = Clinic(tmp_path / "home", bucket=s3_bucket).init()
    clinic.environment["REKAM_REPLICATOR__SEGMENT_BYTES"] = str(64 * 1024)
    checkpoints: list[int] = []
    for file in files:
        clinic.take(file)
        command = ("replicate", "--once", "--json")
        with clinic.child(*command) as one, clinic.child(*command) as other:
            told: list[Any] = [finish(one, None, END_SECONDS), finish(other, None, END_SECONDS)]
        assert any(t.code == 0 for t in told)
        for t in told:
            if t.code:
                complaint(t)
            else:
                checkpoints.append(t.json()["checkpoint"])
    assert len(set(checkpoints)) == len(checkpoints)
    with clinic.surroundings() as home:
        archive = home.archive()
        assert [mark.time for mark in archive.marks] == sorted({mark.time for mark in archive.marks})
        assert sum(archive.end().of(EVENTS).values()) == 1_200
        for partition, stop in archive.end().items():
            offsets = [r.offset for batch in archive.read(partition, 0, stop) for r in batch]
            assert offsets == list(range(stop))
    truth = clinic.digest()
    clinic.lose_log()
    clinic.lose_tables()
    clinic.recover("latest")
    assert clinic.digest() == truth
    whole(clinic, 1_200)
