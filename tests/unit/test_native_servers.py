"""The scripts that install, start and stop servers: they touch what they started, and say what is missing."""

from __future__ import annotations

import json
import lzma
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from deploy.native import installing, kafka_broker, postgresql, s3_gateway, servers
from deploy.native.processes import (
    Lacking,
    Server,
    ServerError,
    birth,
    end_process,
    free_port,
    is_running,
    new_folder,
    run,
    wait_until,
)
from tests import leftovers
from tests.servers import REQUIRE_SERVERS, VARIABLES, Servers, prospect

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing on the PATH, nothing in the cache and no packages."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(postgresql, "PACKAGED", tmp_path / "packages")
    monkeypatch.setattr(installing, "OFF_PATH", ())
    for variable in (name for names in VARIABLES.values() for name in names):
        monkeypatch.delenv(variable, raising=False)


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


def test_a_process_ends_only_when_it_is_the_one_we_started() -> None:
    process = subprocess.Popen(SLEEPS)
    born = birth(process.pid)
    end_process(process.pid, "another start time", signal.SIGKILL)
    assert is_running(process.pid, born)
    end_process(process.pid, born, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert not is_running(process.pid, born)
    end_process(process.pid, born, signal.SIGTERM)


def test_a_process_that_ignores_its_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.native.processes.STOP_SECONDS", 0.3)
    ignores = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    deaf = f"{ignores}; print('deaf', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "deaf\n"
    end_process(process.pid, birth(process.pid), signal.SIGTERM)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_a_server_that_ends_early_says_its_last_words(tmp_path: Path) -> None:
    server = Server(
        "brief", [sys.executable, "-c", "raise SystemExit('no disk')"], tmp_path, 1, {}, lambda: False
    )
    with pytest.raises(ServerError, match="ended while starting, code 1") as failure:
        server.start()
    assert "no disk" in failure.value.hint


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    server = Server("mute", SLEEPS, tmp_path, 1, {}, lambda: False)
    with pytest.raises(ServerError, match="was not ready within"):
        server.start(deadline_seconds=0.2)
    assert not server.alive()


def test_a_discarded_server_leaves_nothing() -> None:
    server = Server("brief", SLEEPS, new_folder("test"), 1, {}, lambda: True).start()
    pid, born = server.pid, server.born
    server.discard()
    assert not is_running(pid, born)
    assert not server.folder.exists()


@pytest.mark.parametrize("name", installing.EVERYTHING)
def test_what_is_not_installed_says_so_with_a_hint(bare_machine: None, name: str) -> None:
    assert not installing.is_installed(name)
    with pytest.raises(Lacking) as lacking:
        installing.installed(name)
    assert lacking.value.hint


def test_installing_without_tools_names_what_is_missing(bare_machine: None) -> None:
    said: list[str] = []
    assert not installing.install(["kafka", "s3", "postgresql"], said.append)
    told = "\n".join(sorted(said))
    assert "kafka: NOT installed: no Java runtime" in told
    assert "s3: NOT installed: there is no go" in told
    assert "postgresql: NOT installed: this is not Debian" in told


def test_an_interrupted_install_is_not_taken_for_a_whole_one(bare_machine: None) -> None:
    part = installing.cache_folder() / ".part-x" / "jars"
    part.mkdir(parents=True)
    with pytest.raises(Lacking):
        kafka_broker.jars(installing.cache_folder())
    part.rename(installing.cache_folder() / f"kafka-{kafka_broker.version()}")
    assert kafka_broker.jars(installing.cache_folder()).is_dir()


def test_an_installed_program_is_used_without_any_tool(bare_machine: None) -> None:
    gateway = s3_gateway.binary(installing.cache_folder())
    gateway.parent.mkdir(parents=True)
    gateway.touch()
    said: list[str] = []
    assert installing.install(["s3"], said.append)
    assert said == [f"s3: there already, {gateway}"]


@pytest.mark.parametrize("name", VARIABLES)
def test_a_lacking_server_skips_or_fails(
    bare_machine: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.containers.engine_lack", lambda: "no container engine answers")
    session = Servers()
    monkeypatch.setenv(REQUIRE_SERVERS, "0")
    with pytest.raises(pytest.skip.Exception, match="no container engine answers"):
        session.address(name)
    monkeypatch.setenv(REQUIRE_SERVERS, "1")
    with pytest.raises(pytest.fail.Exception, match="REKAM_REQUIRE_SERVERS is set"):
        session.address(name)
    assert session.told[name].startswith("lacked: ")
    assert prospect(name) == "not installed"


def test_an_address_in_the_environment_comes_first(
    bare_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKAM_TEST_KAFKA", "broker.example:9092")
    session = Servers()
    assert session.address("kafka") == {"REKAM_TEST_KAFKA": "broker.example:9092"}
    assert session.started == {}


def test_an_incomplete_address_fails(bare_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKAM_TEST_S3", "http://s3.example")
    with pytest.raises(pytest.fail.Exception, match="REKAM_TEST_S3_ACCESS, REKAM_TEST_S3_SECRET"):
        Servers().address("s3")


def test_a_child_left_behind_is_found_and_a_known_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE_SECONDS", 0.1)
    before = leftovers.children()
    process = subprocess.Popen(SLEEPS)
    assert [child.pid for child in leftovers.left(before, known=[])] == [process.pid]
    assert leftovers.left(before, known=[process.pid]) == []
    process.kill()
    process.wait()
    assert leftovers.left(before, known=[]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a subreaper")
def test_an_orphan_of_a_killed_child_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE_SECONDS", 0.1)
    before = leftovers.children()
    spawns = f"import subprocess; print(subprocess.Popen({SLEEPS!r}).pid, flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", spawns], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        parent.kill()
    assert [child.pid for child in leftovers.left(before, known=[])] == [orphan]
    os.kill(orphan, signal.SIGKILL)
    os.waitpid(orphan, 0)


def test_the_sample_holds_what_its_page_says() -> None:
    samples = Path(servers.__file__).parents[1] / "samples"
    with lzma.open(samples / "clinic-sample.ndjson.xz", "rt") as lines:
        counts = Counter(json.loads(line)["resourceType"] for line in lines)
    page = samples.joinpath("README.md").read_text()
    table = {
        name: int(count.replace(",", "")) for name, count in re.findall(r"\| ([A-Z]\w+) \| ([\d,]+) ", page)
    }
    assert table == counts
    assert f"{counts.total():,} FHIR R4 resources" in page


def test_a_failing_command_says_its_end() -> None:
    with pytest.raises(ServerError, match="failed with code 3") as failure:
        run([sys.executable, "-c", "print('the last line'); raise SystemExit(3)"])
    assert failure.value.hint == "the last line"


def test_waiting_ends_at_its_deadline() -> None:
    assert wait_until(lambda: True, 0)
    assert not wait_until(lambda: False, 0.1)


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as wrong_usage:
        servers.main(["start", "oracle"])
    assert wrong_usage.value.code == 2
    assert servers.main(["stop", "--state", str(tmp_path / "none.json")]) == 0
    assert "stopped nothing" in capsys.readouterr().err
