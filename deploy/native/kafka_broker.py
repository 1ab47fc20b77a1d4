"""One Apache Kafka node (KRaft: broker and controller in one process) from the jars that Maven fetched.

Ready means that it answers a request, not that its port is open: the port opens before the broker serves.
`auto.create.topics.enable` is off as in any installation that Rekam accepts: a mistyped topic must be an error.
"""

from __future__ import annotations

import base64
import re
import shutil
import signal
import socket
import struct
import uuid
from pathlib import Path

from deploy.native.processes import Lacking, Server, free_port, new_folder, run

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
HEAP = ("-Xms512m", "-Xmx512m", "-XX:+UseG1GC")
ANSWER_SECONDS = 2.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


def version() -> str:
    """The Kafka release that the pom names."""
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)</version>", POM.read_text())
    if found is None:
        raise Lacking(f"{POM.name} names no Kafka release")
    return found.group(1)


def java() -> str:
    """The Java runtime. Raises Lacking."""
    found = shutil.which("java")
    if found is None:
        raise Lacking(
            "no Java runtime", "Debian: apt-get install default-jdk-headless maven; elsewhere a JDK 17+"
        )
    return found


def jars(cache: Path) -> Path:
    """The folder of jars in the cache. Raises Lacking."""
    folder = cache / f"kafka-{version()}"
    if not folder.is_dir():
        raise Lacking(
            f"Kafka {version()} is not installed", "make servers, or deploy/native/servers.py install kafka"
        )
    return folder


def new_cluster_id() -> str:
    """22 characters of base64url that do not begin with '-', which the tools would take for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def prepare(cache: Path) -> Server:
    """A formatted node in a new folder, not started yet. Raises Lacking or ServerError."""
    program, libraries = java(), jars(cache)
    folder, port, controller = new_folder("kafka"), free_port(), free_port()
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(port=port, controller=controller, folder=folder))
    common = [
        f"-Dkafka.logs.dir={folder}",
        f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}",
        "-cp",
        f"{libraries}/*",
    ]
    storage = ["kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c", str(properties)]
    run([program, "-Xmx128m", *common, *storage], cwd=folder)
    return Server(
        name="kafka",
        command=[program, *HEAP, *common, "kafka.Kafka", str(properties)],
        folder=folder,
        port=port,
        environment={"REKAM_TEST_KAFKA": f"127.0.0.1:{port}"},
        ready=lambda: answers(port),
        stop_signal=signal.SIGKILL,  # a gentle stop takes seconds, for data that are thrown away
    )


def answers(port: int) -> bool:
    """Whether a broker answers ApiVersions (key 18, version 0) on this port."""
    client = b"rekam"
    request = struct.pack(">hhih", 18, 0, 1, len(client)) + client
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            header = connection.recv(8)
    except OSError:
        return False
    return len(header) == 8 and struct.unpack(">i", header[4:])[0] == 1
