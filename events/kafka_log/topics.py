"""The topics of a log: how they are made, and what is verified whenever a log is opened.

Records must stay for ever and keep the broker's time, so settings are verified at each start: somebody may have
changed them since. A log stands when all of its topics do and the topic `rekam.restoring` does not: a restore makes
that one first and deletes it last, in one step of the brokers', so a half-done restore is no log to anybody. It holds
one record, what is being restored.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from events.errors import BadConfiguration, LogMissing, LogRecreated, Refused
from events.kafka_log.address import Address
from events.kafka_log.failures import failures_of, unavailable
from events.position import TOPICS

RESTORING = "rekam.restoring"
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
ETERNAL: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
}
"""What a topic of a log must be set to."""
_POLL_SECONDS = 0.05
_SAFE_REPLICAS = 3


def settings_for(replicas: int) -> dict[str, str]:
    """What keeps acknowledged records with so many copies: a lone one is on its disk, of three two have it."""
    if replicas >= _SAFE_REPLICAS:
        return {**ETERNAL, "min.insync.replicas": "2"}
    return {**ETERNAL, "flush.messages": "1"} if replicas == 1 else dict(ETERNAL)


class Topic:
    """One topic as the brokers describe it."""

    def __init__(self, described: Mapping[str, Any], prefix: str) -> None:
        self.physical: str = described["name"]
        self.name = self.physical.removeprefix(prefix)
        self.topic_id = str(described["topic_id"])
        self.partitions = len(described["partitions"])
        self.replicas = min((len(p["replica_nodes"]) for p in described["partitions"]), default=0)


class Topics:
    """The administration of one log's topics. Safe for concurrent threads. Raises LogUnavailable after the deadline."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        with failures_of(address):
            self._admin = KafkaAdminClient(
                bootstrap_servers=list(address.servers),
                bootstrap_timeout_ms=address.deadline_millis,
                request_timeout_ms=address.deadline_millis,
            )

    def standing(self) -> dict[str, Topic]:
        """plain name -> topic, of those of this log that the brokers hold now."""
        physical = {self.address.physical(name) for name in (*TOPICS, RESTORING)}
        with self._lock, failures_of(self.address):
            described = self._admin.describe_topics()
        found = (Topic(d, self.address.prefix) for d in described if d["name"] in physical)
        return {topic.name: topic for topic in found}

    def make(self, counts: Mapping[str, int], settings: Mapping[str, str] | None = None) -> None:
        """Makes topics, in the order given, and waits until they can be used. `settings` over the usual ones."""
        replicas = self.address.replication or self._default_replication()
        for name, count in counts.items():
            wanted = {**settings_for(replicas), **(settings or {})}
            topic = NewTopic(
                self.address.physical(name), count, self.address.replication or -1, topic_configs=wanted
            )
            with self._lock, failures_of(self.address):
                try:
                    self._admin.create_topics([topic], timeout_ms=self.address.deadline_millis)
                except errors.TopicAlreadyExistsError:
                    continue  # another process makes the same log: both go on with what stands
        with self._lock, failures_of(self.address):
            self._admin.wait_for_topics(
                [self.address.physical(n) for n in counts], self.address.deadline_millis
            )

    def _default_replication(self) -> int:
        """What -1 means to the brokers."""
        with self._lock, failures_of(self.address):
            broker = str(self._admin.describe_cluster()["brokers"][0]["broker_id"])
            asked = ConfigResource(ConfigResourceType.BROKER, broker)
            found = self._admin.describe_configs([asked], config_filter="all")["broker"][broker]
        return int(found["default.replication.factor"]["value"])

    def delete(self, names: Iterable[str]) -> None:
        """Deletes topics and waits until the brokers have forgotten them."""
        names = list(names)
        if not names:
            return
        with self._lock, failures_of(self.address):
            try:
                self._admin.delete_topics(
                    [self.address.physical(n) for n in names], timeout_ms=self.address.deadline_millis
                )
            except errors.UnknownTopicOrPartitionError:
                pass  # gone already
        deadline = time.monotonic() + self.address.deadline_seconds
        while set(names) & set(self.standing()):
            if time.monotonic() > deadline:
                raise unavailable(self.address, "the brokers did not delete the topics in time")
            time.sleep(_POLL_SECONDS)

    def set(self, names: Iterable[str], settings: Mapping[str, str | None]) -> None:
        """Changes settings of topics; None: back to the brokers' default."""
        changes = {k: ("delete", None) if v is None else ("set", v) for k, v in settings.items()}
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, self.address.physical(name), changes) for name in names
        ]
        with self._lock, failures_of(self.address):
            self._admin.alter_configs(resources, incremental=True)

    def await_verified(self, topics: Iterable[Topic]) -> None:
        """As `verify`, for settings that were just changed: a broker may learn of them a little later."""
        checked = list(topics)
        deadline = time.monotonic() + self.address.deadline_seconds
        while True:
            try:
                return self.verify(checked)
            except BadConfiguration:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    def verify(self, topics: Iterable[Topic]) -> None:
        """Raises BadConfiguration naming each topic and setting that would lose records or their times."""
        checked = {topic.physical: topic for topic in topics}
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in checked]
        with self._lock, failures_of(self.address):
            found = self._admin.describe_configs(asked, config_filter="all")["topic"]
        wrong = [
            f"{name}: {setting} is {found[name].get(setting, {}).get('value')}, not {value}"
            for name, topic in checked.items()
            for setting, value in settings_for(topic.replicas).items()
            if found[name].get(setting, {}).get("value") != value
        ]
        if wrong:
            raise BadConfiguration(
                f"{self.address}: topics are not set as a log needs it: {'; '.join(wrong)}",
                "set them back with kafka-configs, and find out who changed them and what was lost since",
            )

    def close(self) -> None:
        self._admin.close()


def stands(standing: Mapping[str, Topic], address: Address) -> bool:
    """Whether a whole log is there. Raises LogMissing for a half-done restore, LogRecreated if topics are gone."""
    missing = [name for name in TOPICS if name not in standing]
    if RESTORING in standing:
        raise LogMissing(
            f"{address}: a restore was begun here and is not finished", "finish it: `rekam recover`"
        )
    if missing and len(missing) < len(TOPICS):
        raise LogRecreated(
            f"{address}: some of the log's topics are gone: {', '.join(missing)}",
            "recover into another prefix, or delete what is left and recover",
        )
    return not missing


def refuse_standing(standing: Mapping[str, Topic], address: Address) -> None:
    """Raises Refused if anything of a log is there that is not a half-done restore."""
    if standing and RESTORING not in standing:
        raise Refused(f"{address}: a log is there already", "a restore never writes over a log")
