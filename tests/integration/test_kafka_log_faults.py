"""The Kafka log and what brokers and operators do to it: settings, lost topics, refusals, absence, big ranges."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from events.errors import (
    BadConfiguration,
    LogGap,
    LogMissing,
    LogRecreated,
    LogUnavailable,
    Refused,
    RekamError,
)
from events.kafka_log import KafkaLog, KafkaRestorer
from events.kafka_log.address import parse_address
from events.kafka_log.topics import RESTORING, Topics
from events.log import Entry, Record, TimeType
from events.position import ACCESS, CONTROL, EVENTS, Partition
from tests.client_world import client, history, says
from tests.log_places import KafkaSite

pytestmark = pytest.mark.kafka
P = Partition(CONTROL, 0)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(kafka_server):
    site = KafkaSite(kafka_server)
    yield site
    site.discard()


@pytest.fixture
def log(site):
    log = site.open(create=True)
    yield log
    log.close()


@pytest.fixture
def topics(site):
    topics = Topics(parse_address(site.url))
    yield topics
    topics.close()


def every(log, partition=P, start=0, stop=None):
    stop = log.end()[partition] if stop is None else stop
    return [r for batch in log.read(partition, start, stop) for r in batch]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("retention.ms", "604800000"),
        ("retention.bytes", "1000000"),
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "CreateTime"),
        ("max.message.bytes", "1048588"),
        ("unclean.leader.election.enable", "true"),
        ("flush.messages", "1000"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(site, log, topics, setting, value):
    topics.set([EVENTS], {setting: value})
    with pytest.raises(BadConfiguration) as caught:
        site.open()
    assert f"rekam.events: {setting} is {value}" in str(caught.value)
    assert "rekam.control" not in str(caught.value)


def test_partitions_that_were_added_are_refused_where_the_address_says_how_many(site, kafka_server):
    url = f"{site.url}&partitions=2"
    KafkaLog.open(url, create=True).close()
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.create_partitions({site.prefix + EVENTS: NewPartitions(3)})
    admin.wait_for_topics([site.prefix + EVENTS])
    admin.close()
    with pytest.raises(BadConfiguration, match=r"rekam\.events has 3, not 2"):
        KafkaLog.open(url)


def test_a_topic_that_is_gone_is_no_reason_to_make_it_again(site, log, topics):
    topics.delete([ACCESS])
    for create in (False, True):
        with pytest.raises(LogRecreated, match=r"rekam\.access"):
            site.open(create=create)
    with pytest.raises(LogRecreated):
        log.identity()


def test_a_topic_made_again_behind_our_back_shows(site, log, topics):
    log.append(EVENTS, [Entry(b"k", b"%d" % n) for n in range(20)])
    before, end = log.identity(), log.end()
    topics.delete([EVENTS])
    topics.make({EVENTS: 1})
    assert log.identity()[EVENTS] != before[EVENTS]
    assert log.identity()[CONTROL] == before[CONTROL]
    again = site.open()
    with pytest.raises(LogGap, match="0 to 19"):
        every(again, Partition(EVENTS, 0), 0, end[Partition(EVENTS, 0)])
    again.close()


def test_after_a_refused_record_the_log_takes_the_next(log, topics):
    log.append(EVENTS, [Entry(b"k", b"before")])
    topics.set([EVENTS], {"max.message.bytes": "0"})  # a fence: it takes effect a moment later
    deadline = time.monotonic() + 20
    with pytest.raises(RekamError) as caught:
        while time.monotonic() < deadline:
            log.append(EVENTS, [Entry(b"k", b"refused")])
    assert "max.message.bytes" in str(caught.value)
    assert log.append(CONTROL, [Entry(b"k", b"elsewhere")])[0].offset == 0
    topics.set([EVENTS], {"max.message.bytes": str(8 * 1024 * 1024)})
    stands = log.end()[Partition(EVENTS, 0)]
    while True:
        try:
            [placed] = log.append(EVENTS, [Entry(b"k", b"after")])
            break
        except RekamError:
            assert time.monotonic() < deadline
    assert placed.offset >= stands
    assert every(log, placed.partition)[-1].value == b"after"


def test_nobody_there_is_said_within_the_deadline():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"kafka://127.0.0.1:{taken.getsockname()[1]}/x.?deadline_seconds=1"
        began = time.monotonic()
        for attempt in (
            lambda: KafkaLog.open(url, create=True),
            lambda: KafkaRestorer(url).begin({}),
        ):
            with pytest.raises(LogUnavailable, match="brokers run"):
                attempt()
        assert time.monotonic() - began < 15


def test_a_broker_that_dies_is_an_error_in_time_and_nothing_acknowledged_is_lost(own_server):
    server = own_server("kafka")
    address = server.environment["REKAM_TEST_KAFKA"]
    log = KafkaLog.open(f"kafka://{address}/?deadline_seconds=2", create=True)
    for n in range(50):
        log.append(CONTROL, [Entry(b"k", b"%d" % n)])
    server.kill()
    for attempt in (
        lambda: log.append(CONTROL, [Entry(b"k", b"nobody hears")]),
        log.end,
        lambda: every(log, P, 0, 50),
        log.identity,
    ):
        began = time.monotonic()
        with pytest.raises(LogUnavailable):
            attempt()
        assert time.monotonic() - began < 10
    server.start()
    deadline = time.monotonic() + 60
    while True:
        try:
            [placed] = log.append(CONTROL, [Entry(b"k", b"back again")])
            break
        except LogUnavailable:
            assert time.monotonic() < deadline
    values = [r.value for r in every(log)]
    assert values[:50] == [b"%d" % n for n in range(50)]
    assert values[placed.offset] == b"back again"
    log.close()


def test_long_ranges_are_read_by_the_bulk_path_with_the_same_answers(log, site):
    entries = [Entry(b"k" if n % 3 else None, b"%d" % n, (("h", b"%d" % n),)) for n in range(6_000)]
    placed = log.append(CONTROL, entries)
    bulk = every(log, P, 0, 6_000)
    small = [r for start in range(0, 6_000, 1_500) for r in every(log, P, start, start + 1_500)]
    assert bulk == small
    assert [(r.key, r.value, r.headers) for r in bulk] == [(e.key, e.value, e.headers) for e in entries]
    assert [(r.offset, r.time) for r in bulk] == [(p.offset, p.time) for p in placed]
    assert {r.time_type for r in bulk} == {TimeType.APPEND}
    site.lose_records(CONTROL, 0, 100)
    with pytest.raises(LogGap, match="0 to 99"):
        every(log, P, 0, 6_000)
    with pytest.raises(LogGap, match="6000 to 6009"):
        every(log, P, 200, 6_010)
    assert len(every(log, P, 100, 6_000)) == 5_900


def test_first_later_is_exact_among_many_batches_and_where_restored_times_run_back(site):
    rnd = random.Random(3)
    times = [1_700_000_000_000 + 10 * n + rnd.choice((0, 0, -5_000, 7_000)) for n in range(5_000)]
    restorer = site.restorer()
    restorer.begin({})
    records = [Record(n, t, TimeType.APPEND, b"k", (), bytes(200)) for n, t in enumerate(times)]
    for start in range(0, 5_000, 500):
        restorer.write(P, records[start : start + 500])
    restorer.finish()
    restorer.close()
    log = site.open()
    for _ in range(30):
        log.append(CONTROL, [Entry(b"k", bytes(300))] * 40)
    times += [r.time for r in every(log, P, 5_000)]
    for _ in range(25):
        time_ = rnd.choice(times) + rnd.choice((-1, 0, 1))
        start, stop = sorted(rnd.sample(range(len(times) + 1), 2))
        want = next((n for n in range(start, stop) if times[n] > time_), None)
        assert log.first_later(P, start, stop, time_) == want
    log.close()


def test_clients_in_many_threads_share_no_version(site):
    logs = [site.open(create=True) for _ in range(2)]
    replicas = [client(one, seed=n, tries=100) for n, one in enumerate(logs)]

    def work(n):
        return [
            replicas[n % 2].append(f"patient-{n % 3}", says(f"{n}:{i}"), key=f"{n}:{i}") for i in range(6)
        ]

    with ThreadPoolExecutor(6) as pool:
        done = [a for future in [pool.submit(work, n) for n in range(6)] for a in future.result()]
    applied = history(logs[0])
    assert sum(len(events) for events in applied.values()) == len(done) == 36
    for acknowledged in done:
        assert applied[acknowledged.event.stream][acknowledged.event.version - 1] == acknowledged.event
    for one in logs:
        one.close()


RESTORE = """
import sys
from events.kafka_log import KafkaRestorer
from events.log import Record
from events.position import CONTROL, Partition
restorer = KafkaRestorer(sys.argv[1])
position = restorer.begin({}, "archive at 7")
P = Partition(CONTROL, 0)
for start in range(position[P], 20_000, 100):
    numbers = range(start, min(start + 100, 20_000))  # a killed one leaves off anywhere
    records = [Record(n, 1_700_000_000_000 + n, 1, b"k", (), b"%d" % n) for n in numbers]
    restorer.write(P, records)
    print(start, flush=True)
restorer.finish()
restorer.close()
"""


def test_a_restore_that_is_killed_is_no_log_and_goes_on_where_it_was(site):
    command = [sys.executable, "-c", RESTORE, site.url]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    for _ in range(60):
        process.stdout.readline()
    process.kill()
    process.communicate()
    with pytest.raises(LogMissing, match="not finished"):
        site.open()
    with pytest.raises(LogMissing):
        site.open(create=True)
    again = KafkaRestorer(site.url)
    resumed = again.begin({}, "archive at 7")[P]
    again.close()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=60)
    log = site.open()
    records = every(log)
    assert [r.value for r in records] == [b"%d" % n for n in range(20_000)]
    assert [r.time for r in records] == [1_700_000_000_000 + n for n in range(20_000)]
    assert 0 <= resumed <= 20_000
    assert log.append(CONTROL, [Entry(b"k", b"next")])[0].time > 1_750_000_000_000
    log.close()
    with pytest.raises(Refused):
        KafkaRestorer(site.url).begin({})


def test_a_restored_log_is_set_as_a_log_must_be_and_the_marker_is_gone(site, topics):
    restorer = site.restorer()
    restorer.begin({EVENTS: 2})
    assert RESTORING in topics.standing()
    restorer.finish()
    restorer.close()
    standing = topics.standing()
    assert {name: t.partitions for name, t in standing.items()} == {EVENTS: 2, ACCESS: 1, CONTROL: 1}
    topics.verify(standing.values())
