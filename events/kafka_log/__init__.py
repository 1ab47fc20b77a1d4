"""The log on Apache Kafka: the only package that knows Kafka's clients.

kafka-python administers, appends and reads what is small; confluent-kafka (seven times faster) reads long ranges and
restores. `address` is the URL, `topics` what must stand on the brokers, `log` the port, `bulk` the fast paths,
`restorer` how a lost log comes back.
"""

from events.kafka_log.log import KafkaLog
from events.kafka_log.restorer import KafkaRestorer

__all__ = ["KafkaLog", "KafkaRestorer"]
