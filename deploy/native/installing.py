"""Fetching the servers: Kafka by Maven, the S3 gateway and toxiproxy by Go, PostgreSQL and age by apt-get.

Rules, and why:

- What is there already is used: jars and programs stay in a cache folder outside the checkout, named by version.
- Each is made under another name and renamed when whole, so an interrupted install is never taken for a finished
  one, and two installs at once do no harm.
- They run side by side (one waits for the network, another compiles); apt-get's packages go in one call, since
  apt-get locks the machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from deploy.native import kafka_broker, postgresql, s3_gateway, toxiproxy
from deploy.native.processes import Lacking, ServerError, run

DEFAULT = ("kafka", "postgresql", "s3", "age")
EVERYTHING = (*DEFAULT, "toxiproxy")
PACKAGES = {"postgresql": "postgresql", "age": "age"}
OFF_PATH = (
    "/usr/local/go/bin",
)  # where Go's own archive goes; a shell without a profile does not look there
CLUSTER_SETTINGS = Path("/etc/postgresql-common/createcluster.conf")


def cache_folder() -> Path:
    """Where jars and programs are kept between checkouts: `$XDG_CACHE_HOME/rekam` or `~/.cache/rekam`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rekam"


def age() -> Path:
    """The `age` program. Raises Lacking."""
    found = shutil.which("age")
    if found is None:
        raise Lacking(
            "age is not installed",
            "Debian: deploy/native/servers.py install age; else age-encryption.org",
        )
    return Path(found)


def installed(name: str) -> str:
    """What of this is there, as text for people. Raises Lacking when it is not."""
    cache = cache_folder()
    if name == "kafka":
        kafka_broker.java()
        return str(kafka_broker.jars(cache))
    if name == "postgresql":
        return str(postgresql.programs())
    if name == "s3":
        return str(s3_gateway.program(cache))
    if name == "toxiproxy":
        return str(toxiproxy.program(cache))
    return str(age())


def is_installed(name: str) -> bool:
    """Whether this is there."""
    try:
        installed(name)
    except Lacking:
        return False
    return True


def install(names: Sequence[str], say: Callable[[str], None]) -> bool:
    """Install what is not there, side by side. True when all of them are there afterwards."""
    for name in filter(is_installed, names):
        say(f"{name}: there already, {installed(name)}")
    missing = [name for name in names if not is_installed(name)]
    packages = [name for name in missing if name in PACKAGES]
    tasks: list[tuple[str, Callable[[], None]]] = [
        (name, partial(BUILDERS[name], cache_folder())) for name in missing if name in BUILDERS
    ]
    if packages:
        tasks.append((" and ".join(packages), partial(_apt_get, packages)))
    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
        return all(list(pool.map(lambda task: _timed(task[0], task[1], say), tasks)))


def _timed(name: str, task: Callable[[], None], say: Callable[[str], None]) -> bool:
    began = time.monotonic()
    try:
        task()
    except ServerError as error:
        say(f"{name}: NOT installed: {error}")
        return False
    say(f"{name}: installed in {time.monotonic() - began:.0f} s")
    return True


def _fetch_kafka(cache: Path) -> None:
    kafka_broker.java()
    maven = _need("mvn", "Debian: apt-get install maven; elsewhere Apache Maven 3.8 or newer")
    target = cache / f"kafka-{kafka_broker.version()}"
    with _beside(target) as part:
        made = Path(part) / "jars"
        libraries = [f"-DoutputDirectory={made}", "-DincludeScope=runtime"]
        run([maven, "-B", "-q", "-f", str(kafka_broker.POM), "dependency:copy-dependencies", *libraries])
        _rename_when_new(made, target)


def _build_gateway(cache: Path) -> None:
    _go_install(s3_gateway.MODULE, "versitygw", s3_gateway.binary(cache))


def _build_toxiproxy(cache: Path) -> None:
    _go_install(toxiproxy.MODULE, "server", toxiproxy.binary(cache))


BUILDERS: dict[str, Callable[[Path], None]] = {
    "kafka": _fetch_kafka,
    "s3": _build_gateway,
    "toxiproxy": _build_toxiproxy,
}


def _go_install(module: str, builds: str, target: Path) -> None:
    go = _need("go", "Go 1.24 or newer from your system's packages or go.dev")
    with _beside(target) as part:
        # No version control stamp: the build must not look at whatever repository it is started in.
        run([go, "install", module], extra={"GOBIN": part, "GOFLAGS": "-buildvcs=false"}, cwd=Path(part))
        Path(part, builds).rename(target)


def _apt_get(names: Sequence[str]) -> None:
    become = _root_words()
    packages = [PACKAGES[name] for name in names]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    if "postgresql" in names and not CLUSTER_SETTINGS.exists():
        # The package would make and start a cluster of its own on port 5432; nobody here asked for that one.
        setting = (
            f"mkdir -p {CLUSTER_SETTINGS.parent} && echo 'create_main_cluster = false' > {CLUSTER_SETTINGS}"
        )
        run([*become, "sh", "-c", setting])
    wait = ["-o", "DPkg::Lock::Timeout=300"]
    run([*become, "apt-get", *wait, "update"], extra=quiet)
    run([*become, "apt-get", *wait, "install", "-y", "--no-install-recommends", *packages], extra=quiet)


def _root_words() -> list[str]:
    """The words before a command that needs root. Raises Lacking where there is no apt-get or no way to root."""
    if shutil.which("apt-get") is None:
        raise Lacking(
            "this is not Debian", "install PostgreSQL 15 or newer and age from your system's packages"
        )
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive"]
    if shutil.which("sudo") is None:
        raise Lacking("packages need root", "as root: apt-get install postgresql age")
    return ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"]


def _need(program: str, hint: str) -> str:
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *OFF_PATH]))
    if found is None:
        raise Lacking(f"there is no {program}", hint)
    return found


def _beside(target: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder on the target's file system, so that the rename is one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent)


def _rename_when_new(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():  # else somebody else's install of the same version was faster
            raise
