"""The same servers in containers, by testcontainers, where an engine runs.

An engine that does not answer is noticed before testcontainers is asked: its classes raise as soon as they are
constructed, and a `docker` program on the PATH says nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import docker
import psycopg
from testcontainers.core.container import DockerContainer

from deploy.native import kafka_broker, s3_gateway
from deploy.native.processes import ServerError, free_port, wait_until

ENGINE_SECONDS = 3
READY_SECONDS = 120.0


@dataclass
class Contained:
    """A server in a container."""

    container: DockerContainer
    environment: Mapping[str, str]

    def discard(self) -> None:
        self.container.stop()


def engine_lack() -> str | None:
    """Why no container can be started, None when one can."""
    try:
        client = docker.from_env(timeout=ENGINE_SECONDS)
        client.ping()
        client.close()
    except (docker.errors.DockerException, OSError):
        return "no container engine answers"
    return None


def kafka() -> Contained:
    """One node on a port that is the same inside and outside, since a broker tells its clients its own address."""
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:9093",
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_LOG_RETENTION_MS": "-1",
    }
    container = DockerContainer(f"apache/kafka:{kafka_broker.version()}").with_bind_ports(port, port)
    for name, value in settings.items():
        container.with_env(name, value)
    return _started(
        container,
        lambda: {"REKAM_TEST_KAFKA": f"127.0.0.1:{port}"},
        lambda: kafka_broker.answers(port),
    )


def postgresql() -> Contained:
    """One cluster with a random password."""
    password = secrets.token_hex(16)
    container = (
        DockerContainer("postgres:17").with_env("POSTGRES_PASSWORD", password).with_exposed_ports(5432)
    )

    def url(scheme: str) -> str:
        return f"{scheme}://postgres:{password}@127.0.0.1:{container.get_exposed_port(5432)}/postgres"

    def answers() -> bool:
        try:
            psycopg.connect(url("postgresql"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    return _started(container, lambda: {"REKAM_TEST_POSTGRESQL": url("postgresql+psycopg")}, answers)


def s3() -> Contained:
    """One versitygw over folders inside the container."""
    access, secret, port = secrets.token_hex(10), secrets.token_hex(20), free_port()
    folders = "mkdir -p /s3/data /s3/versions /s3/metadata"
    serve = f"exec versitygw --port :7070 --health {s3_gateway.HEALTH} --quiet posix"
    backend = "--versioning-dir /s3/versions --sidecar /s3/metadata /s3/data"
    container = DockerContainer(
        f"versity/versitygw:v{s3_gateway.VERSION}", entrypoint=["sh", "-c", f"{folders} && {serve} {backend}"]
    )
    container.with_env("ROOT_ACCESS_KEY", access).with_env("ROOT_SECRET_KEY", secret).with_bind_ports(
        7070, port
    )
    address = {"REKAM_TEST_S3": f"http://127.0.0.1:{port}"}
    users = {"REKAM_TEST_S3_ACCESS": access, "REKAM_TEST_S3_SECRET": secret}
    return _started(container, lambda: {**address, **users}, lambda: s3_gateway.answers(port))


START: Mapping[str, Callable[[], Contained]] = {"kafka": kafka, "postgresql": postgresql, "s3": s3}


def _started(
    container: DockerContainer, environment: Callable[[], Mapping[str, str]], answers: Callable[[], bool]
) -> Contained:
    container.start()
    if not wait_until(answers, READY_SECONDS):
        container.stop()
        raise ServerError(f"{container.image} was not ready within {READY_SECONDS:.0f} s")
    return Contained(container, environment())
