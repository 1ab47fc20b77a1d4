"""From the addresses in rekam.toml to adapters. Relative paths count from the home folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from events.errors import BadConfiguration, Refused, TablesDamaged, TablesUnavailable
from events.log import EventLog, LogRestorer
from events.sqlite_log import SqliteLog, SqliteRestorer
from replicator.directory_store import DirectoryStore
from replicator.repairing import VersionedStore
from replicator.retrying import RetryingStore
from replicator.stores import ObjectStore
from services.settings import ArchiveSettings, Settings

KEY_BACKUPS = "key-backups"
"""The name of the place beside the archive."""

if TYPE_CHECKING:
    from replicator.s3_store import S3Store


def refuse_unknown_places(settings: Settings) -> None:
    """Raises BadConfiguration for an address that no adapter serves, before anything is made."""
    if not settings.log.url.startswith(("sqlite:", "kafka:")):
        raise _unknown_log(settings.log.url)
    if not settings.tables.url.startswith(("sqlite:", "postgresql")):
        raise BadConfiguration(
            f"tables cannot be at {_scheme(settings.tables.url)!r}",
            "use sqlite:FILE or postgresql+psycopg://user@host/database",
        )
    if "://" in settings.archive.url and not settings.archive.url.startswith("s3://"):
        raise _unknown_archive(settings.archive.url)
    backup = key_backup_url(settings)
    if "://" in backup and not backup.startswith("s3://"):
        raise BadConfiguration(
            f"patients' keys cannot be backed up at {_scheme(backup)!r}", "use a folder or s3://bucket/prefix"
        )


def open_log(url: str, home: Path, *, create: bool = False) -> EventLog:
    """Raises LogMissing (without `create`), LogUnavailable, BadConfiguration."""
    if url.startswith("sqlite:"):
        return SqliteLog(_file(url, home), create=create)
    if url.startswith("kafka:"):
        from events.kafka_log import KafkaLog  # Kafka's clients are slow to import

        return KafkaLog.open(url, create=create)
    raise _unknown_log(url)


def log_restorer(url: str, home: Path) -> LogRestorer:
    if url.startswith("kafka:"):
        from events.kafka_log import KafkaRestorer

        return KafkaRestorer(url)
    return SqliteRestorer(_file(url, home))


def tables_url(url: str, home: Path) -> str:
    return f"sqlite:{_file(url, home)}" if url.startswith("sqlite:") else url


def discard_tables(url: str, home: Path) -> None:
    """Takes damaged tables in a file away. Raises TablesDamaged for those in a server, which is not ours to mend."""
    if not url.startswith("sqlite:"):
        raise TablesDamaged(
            "the database of the tables is damaged", "empty it, or name another one in rekam.toml"
        )
    file = _file(url, home)
    try:
        for path in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal"))):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TablesUnavailable(
            f"{file}: {error.strerror}", "check who owns the file and its folder"
        ) from None


def object_store(settings: ArchiveSettings, home: Path, *, create: bool = False) -> ObjectStore:
    """The store of an archive, asked again where it is across a network. `create`: make its folder.

    A folder is not asked again: a disk that is not there is plugged in by a person, whom we tell at once.
    """
    if settings.url.startswith("s3://"):
        return RetryingStore(_bucket(settings), patience_seconds=settings.patience_seconds)
    if "://" in settings.url:
        raise _unknown_archive(settings.url)
    return DirectoryStore(home / Path(settings.url).expanduser(), create=create)


def _bucket(settings: ArchiveSettings) -> S3Store:
    from replicator.s3_store import Bucket, Retention, S3Store  # boto3 is slow to import

    place = urlsplit(settings.url)
    bucket = Bucket(
        place.netloc,
        place.path.strip("/"),
        settings.endpoint,
        settings.region,
        settings.access_key,
        settings.secret_key,
    )
    return S3Store(bucket, Retention(settings.lock_days) if settings.lock_days else None)


def versioned_store(settings: ArchiveSettings) -> VersionedStore:
    """The bucket with its versions. Raises Refused where the archive is in no bucket that keeps them."""
    store = _bucket(settings) if settings.url.startswith("s3://") else None
    if store is None or not store.versioned:
        raise Refused(f"{settings.url} keeps no versions", "only a versioned S3 bucket can be repaired so")
    return store


def key_backup_url(settings: Settings) -> str:
    """Where patients' keys are backed up: beside the archive, unless another place is named."""
    if settings.keys.backup is not None:
        return settings.keys.backup
    url = settings.archive.url.rstrip("/")
    if url.startswith("s3://"):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        beside = [*prefix.split("/")[:-1], KEY_BACKUPS]
        return f"s3://{'/'.join([bucket, *beside])}"
    return str(Path(url).parent / KEY_BACKUPS)


def _file(url: str, home: Path) -> Path:
    return home / Path(url.removeprefix("sqlite:").removeprefix("//")).expanduser()


def _unknown_log(url: str) -> BadConfiguration:
    return BadConfiguration(f"the log cannot be at {_scheme(url)!r}", "use sqlite:FILE or kafka://host:port/")


def _unknown_archive(url: str) -> BadConfiguration:
    return BadConfiguration(f"an archive cannot be at {_scheme(url)!r}", "use a folder or s3://bucket/prefix")


def _scheme(url: str) -> str:
    return url.partition(":")[0]


def archive_place(given: str, home: Path, *, adopted: bool) -> str:
    """The archive as rekam.toml names it. An adopted folder was named from where the operator stands, not from home."""
    if "://" in given or not adopted:
        return given
    folder = Path(given).expanduser().absolute()
    return str(folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)
