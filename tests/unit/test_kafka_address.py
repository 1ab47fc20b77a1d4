"""The URL of a Kafka log."""

import pytest

from events.errors import BadConfiguration
from events.kafka_log.address import Address, parse_address
from events.kafka_log.topics import settings_for
from events.position import ACCESS, EVENTS


def test_a_whole_address():
    address = parse_address("kafka://a.example:9092,10.0.0.2:9093/clinic-1.?partitions=6&replication=3")
    assert address == Address(("a.example:9092", "10.0.0.2:9093"), "clinic-1.", 6, 3)
    assert address.physical(EVENTS) == "clinic-1.rekam.events"
    assert address.counts == {EVENTS: 6, ACCESS: 6}
    assert str(address) == "kafka://a.example:9092,10.0.0.2:9093/clinic-1."


@pytest.mark.parametrize("url", ["kafka://h:1", "kafka://h:1/", "kafka://[::1]:1/"])
def test_the_least_address(url):
    address = parse_address(url)
    assert (address.prefix, address.partitions, address.counts, address.replication) == ("", None, None, None)
    assert address.deadline_seconds == 30


def test_a_deadline():
    assert parse_address("kafka://h:1/?deadline_seconds=3").deadline_millis == 3000


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://host",
        "kafka://host:port/",
        "kafka://a:1,/",
        "http://a:1/",
        "kafka://a:1/pre/fix",
        "kafka://a:1/pre fix",
        "kafka://a:1/?partitions=0",
        "kafka://a:1/?partitions=x",
        "kafka://a:1/?partitions=",
        "kafka://a:1/?partition=2",
        "kafka://user:secret@a:1/",
    ],
)
def test_anything_else_is_refused_without_repeating_it(url):
    with pytest.raises(BadConfiguration) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


def test_settings_keep_what_was_acknowledged_with_any_number_of_copies():
    assert settings_for(1)["flush.messages"] == "1"
    assert settings_for(3)["min.insync.replicas"] == settings_for(5)["min.insync.replicas"] == "2"
    assert all(settings_for(n)["retention.ms"] == "-1" for n in (1, 2, 3))
