"""Partitions agree with Kafka's Java client, whose test vectors these are (UtilsTest.testMurmur2)."""

import pytest

from events.errors import BadConfiguration
from events.partitioning import (
    all_partitions,
    murmur2,
    partition_counts,
    partition_number,
    refuse_changed_counts,
)
from events.position import ACCESS, CONTROL, EVENTS, Partition

VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", VECTORS)
def test_murmur2_is_that_of_kafkas_java_client(key):
    assert murmur2(key) == VECTORS[key] % 2**32


def test_a_partition_is_the_positive_hash_modulo_the_count():
    assert partition_number(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7
    assert partition_number(b"21", 1) == partition_number(None, 7) == 0
    assert {partition_number(b"stream-%d" % n, 4) for n in range(100)} == {0, 1, 2, 3}


def test_a_log_has_the_three_topics_and_control_has_one_partition():
    assert partition_counts({EVENTS: 6}) == {EVENTS: 6, ACCESS: 1, CONTROL: 1}
    for wrong in ({CONTROL: 2}, {EVENTS: 0}):
        with pytest.raises(BadConfiguration):
            partition_counts(wrong)


def test_controls_partition_comes_last():
    found = all_partitions({CONTROL: 1, EVENTS: 2, ACCESS: 1, "a": 1, "z": 1})
    assert found[-1] == Partition(CONTROL, 0)
    assert len(found) == 6


def test_changed_counts_are_named():
    refuse_changed_counts("here", {EVENTS: 3}, None)
    refuse_changed_counts("here", {EVENTS: 3}, {EVENTS: 3})
    with pytest.raises(BadConfiguration, match=r"here: .*rekam\.events has 3, not 4"):
        refuse_changed_counts("here", {EVENTS: 3}, {EVENTS: 4})
