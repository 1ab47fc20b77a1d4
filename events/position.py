"""Positions: for each (topic, partition) the next offset.

A position is half-open, so it names a prefix of the log. It covers the partitions of every topic, control
included, because which rewinds a prefix holds decides which of its events are in effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

EVENTS = "rekam.events"
ACCESS = "rekam.access"
CONTROL = "rekam.control"
TOPICS = (EVENTS, ACCESS, CONTROL)


class Partition(NamedTuple):
    """One partition of one topic. Its text form is `topic/number`."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Partition:
        topic, _, number = text.rpartition("/")
        if not topic or not number.isdigit():
            raise ValueError(f"not a partition: {text!r}")
        return cls(topic, int(number))


CONTROL_PARTITION = Partition(CONTROL, 0)


class Position(Mapping[Partition, int]):
    """An immutable, hashable mapping of partition to next offset; a partition not named stands at 0."""

    __slots__ = ("_offsets",)

    def __init__(self, offsets: Mapping[Partition, int] | None = None) -> None:
        self._offsets = dict(sorted((offsets or {}).items()))

    def __getitem__(self, partition: Partition) -> int:
        return self._offsets.get(partition, 0)

    def __contains__(self, partition: object) -> bool:
        return partition in self._offsets

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __hash__(self) -> int:
        return hash(tuple(self._offsets.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and self._offsets == other._offsets

    def __repr__(self) -> str:
        return f"Position({', '.join(f'{p}={n}' for p, n in self._offsets.items())})"

    @property
    def control(self) -> int:
        """The next offset of the control topic."""
        return self[CONTROL_PARTITION]

    def of(self, topic: str) -> dict[Partition, int]:
        """The part of one topic."""
        return {p: n for p, n in self._offsets.items() if p.topic == topic}

    def replace(self, offsets: Mapping[Partition, int]) -> Position:
        """This position with some offsets changed or added."""
        return Position({**self._offsets, **offsets})

    def clamped(self, other: Position) -> Position:
        """Partition by partition the lower of both: never beyond `other`."""
        return Position({p: min(n, other[p]) for p, n in self._offsets.items()})

    def covers(self, other: Position) -> bool:
        """Whether every prefix that `other` names is inside this one."""
        return all(n <= self[p] for p, n in other.items())

    def records(self) -> int:
        """How many records the prefix holds."""
        return sum(self._offsets.values())

    def to_json(self) -> dict[str, int]:
        return {str(p): n for p, n in self._offsets.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, int]) -> Position:
        return cls({Partition.parse(p): int(n) for p, n in value.items()})
