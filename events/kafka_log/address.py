"""The URL of a Kafka log: `kafka://host:port[,host:port]/[prefix]?partitions=N&replication=N&deadline_seconds=S`.

The prefix goes before every topic's name on the brokers, so that several logs can share them; positions, archives and
people know the plain names only. `partitions` and `replication` count when the log is made; `partitions` is for the
data topics (control has one). `deadline_seconds` bounds every call: the default outlasts the loss of a leader.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from events.errors import BadConfiguration
from events.position import ACCESS, EVENTS

DEADLINE_SECONDS = 30.0
_HINT = "kafka://host:port[,host:port]/[prefix]?partitions=N&replication=N"
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")


class Address(NamedTuple):
    """Where a log is, and how it is made there."""

    servers: tuple[str, ...]
    prefix: str = ""
    partitions: int | None = None
    replication: int | None = None
    """None: the brokers' default."""
    deadline_seconds: float = DEADLINE_SECONDS

    def physical(self, topic: str) -> str:
        """The topic's name on the brokers."""
        return self.prefix + topic

    @property
    def counts(self) -> dict[str, int] | None:
        """topic -> partitions as the URL says; None if it says nothing."""
        return None if self.partitions is None else dict.fromkeys((EVENTS, ACCESS), self.partitions)

    @property
    def deadline_millis(self) -> int:
        return int(self.deadline_seconds * 1000)

    def __str__(self) -> str:
        return f"kafka://{','.join(self.servers)}/{self.prefix}"


def parse_address(url: str) -> Address:
    """Raises BadConfiguration."""
    parts = urlsplit(url)
    servers = tuple(parts.netloc.split(","))
    prefix = parts.path.removeprefix("/")
    if parts.scheme != "kafka" or not all(_SERVER.fullmatch(server) for server in servers):
        raise BadConfiguration("the log's address is not a Kafka address", _HINT)
    if not _PREFIX.fullmatch(prefix):
        raise BadConfiguration("the prefix of topics may hold letters, digits, '.', '_' and '-'", _HINT)
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(asked) - {"partitions", "replication", "deadline_seconds"}):
        raise BadConfiguration(f"the log's address has unknown settings: {', '.join(unknown)}", _HINT)
    return Address(
        servers,
        prefix,
        _count(asked, "partitions"),
        _count(asked, "replication"),
        float(_count(asked, "deadline_seconds") or DEADLINE_SECONDS),
    )


def _count(asked: dict[str, str], name: str) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadConfiguration(f"{name} must be a whole number from 1 on", _HINT)
    return int(text)
