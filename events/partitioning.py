"""Which partition a stream lives in: murmur2 of its name, as Kafka's Java client computes it.

The defaults of Kafka's Python clients disagree with each other, so every log passes the partition that is computed
here, explicitly, and all logs and all archives agree on it. A count never changes once a log was made: the same
stream would live in two partitions, and its order would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from events.errors import BadConfiguration
from events.position import CONTROL, TOPICS, Partition

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """32 bits, unsigned: `org.apache.kafka.common.utils.Utils.murmur2`."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        k = (k ^ (k >> 24)) * _MULTIPLIER & _MASK
        h = (h * _MULTIPLIER & _MASK) ^ k
    if length & 3:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    h = (h ^ (h >> 13)) * _MULTIPLIER & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_number(key: bytes | None, count: int) -> int:
    """The partition of `count` that a key lives in; a record without a key lives in partition 0."""
    if count == 1 or key is None:
        return 0
    return (murmur2(key) & 0x7FFFFFFF) % count


def partition_of(topic: str, stream: str, partitions: Mapping[str, int]) -> Partition:
    """Where a stream's events stand on a log with these partition counts."""
    return Partition(topic, partition_number(stream.encode(), partitions[topic]))


def partition_counts(given: Mapping[str, int] | None = None) -> dict[str, int]:
    """The counts of a log to be made: one a topic where nothing else is given. Raises BadConfiguration."""
    counts = {**dict.fromkeys(TOPICS, 1), **(given or {})}
    if wrong := sorted(topic for topic, count in counts.items() if count < 1):
        raise BadConfiguration(f"a topic needs at least one partition: {', '.join(wrong)}")
    if counts[CONTROL] != 1:
        raise BadConfiguration(f"{CONTROL} has one partition: rewinds are totally ordered")
    return counts


def all_partitions(counts: Mapping[str, int]) -> list[Partition]:
    """Every partition of a log, control's last: whoever reads ends in this order reads data first."""
    ordered = sorted(counts, key=lambda topic: (topic == CONTROL, topic))
    return [Partition(topic, number) for topic in ordered for number in range(counts[topic])]


def refuse_changed_counts(where: str, found: Mapping[str, int], given: Mapping[str, int] | None) -> None:
    """Raises BadConfiguration if a log is to be opened with other counts than it was made with."""
    changed = [
        f"{t} has {found.get(t, 0)}, not {n}" for t, n in sorted((given or {}).items()) if found.get(t) != n
    ]
    if changed:
        raise BadConfiguration(
            f"{where}: the number of partitions is fixed when a log is made: {'; '.join(changed)}",
            "set the number that the log was made with",
        )
