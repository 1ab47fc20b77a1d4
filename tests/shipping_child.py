"""A shipper in a process of its own, to be killed: `LOG ARCHIVE [rounds]`. Prints what it shipped, then its memory."""

import sys
from pathlib import Path

from events.errors import Busy
from events.sqlite_log import SqliteLog
from replicator.archive import Archive
from replicator.directory_store import DirectoryStore
from replicator.shipper import Shipper
from tests.archives import SIGNER


def peak_mib() -> int:
    """The most memory that this program held. Not getrusage's: that begins with the peak of who started us."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main(log_path: str, folder: str, rounds: str = "1000000") -> None:
    log = SqliteLog(Path(log_path))
    archive = Archive.open(DirectoryStore(folder), SIGNER)
    shipper = Shipper(log, archive, segment_bytes=20_000 if int(rounds) > 1 else 4 * 1024 * 1024)
    for _ in range(int(rounds)):
        try:
            shipped = shipper.ship_once()
        except Busy:  # another one is at it without a pause, too
            continue
        print(shipped.checkpoint, shipped.records, shipped.segments, flush=True)  # noqa: T201
    print(peak_mib(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
