"""What errors of Kafka's clients mean to us: almost always that nobody answered as hoped, and the call may be repeated.

Messages name the log and the error's kind, never a record's content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import confluent_kafka
from kafka import errors

from events.errors import BadConfiguration, Corrupt, LogUnavailable, RekamError, TooLarge
from events.kafka_log.address import Address

_HINTS: tuple[tuple[type[errors.KafkaError], str], ...] = (
    (errors.AuthorizationError, "this user may not do that on these topics"),
    (errors.NotEnoughReplicasError, "too few brokers are in sync: start the missing ones"),
    (errors.NotEnoughReplicasAfterAppendError, "too few brokers are in sync: start the missing ones"),
)


@contextmanager
def failures_of(address: Address) -> Iterator[None]:
    """Turns the clients' errors into ours."""
    try:
        yield
    except errors.KafkaError as error:
        raise failure(error, address) from error
    except confluent_kafka.KafkaException as error:
        raise unavailable(address, error.args[0].name() if error.args else "no answer") from error
    except OSError as error:
        raise unavailable(address, type(error).__name__) from error


def failure(error: errors.KafkaError, address: Address) -> RekamError:
    """What an error of kafka-python's means."""
    name = type(error).__name__
    if isinstance(error, (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)):
        return TooLarge(
            f"{address}: the brokers refuse a record for its size",
            "look at max.message.bytes: a topic that is closed for writing has 0",
        )
    if isinstance(error, errors.CorruptRecordError):
        return Corrupt(f"{address}: a batch does not match its checksum", "recover from the archive")
    if isinstance(error, (errors.InvalidReplicationFactorError, errors.PolicyViolationError)):
        return BadConfiguration(
            f"{address}: the brokers refuse to make the topics: {name}", "look at replication=N"
        )
    hint = next(
        (hint for kind, hint in _HINTS if isinstance(error, kind)), "look whether the brokers run; try again"
    )
    return unavailable(address, name, hint)


def unavailable(
    address: Address, what: str, hint: str = "look whether the brokers run; try again"
) -> LogUnavailable:
    return LogUnavailable(f"{address}: {what}", hint)
