"""From the addresses in rekam.toml to adapters. Relative paths count from the home folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from events.errors import BadConfiguration
from events.log import EventLog, LogRestorer
from events.sqlite_log import SqliteLog, SqliteRestorer
from replicator.directory_store import DirectoryStore
from replicator.stores import ObjectStore
from services.settings import ArchiveSettings


def open_log(url: str, home: Path, *, create: bool = False) -> EventLog:
    """Raises LogMissing (without `create`), LogUnavailable, BadConfiguration."""
    if url.startswith("sqlite:"):
        return SqliteLog(_file(url, home), create=create)
    if url.startswith("kafka:"):
        from events.kafka_log import KafkaLog  # Kafka's clients are slow to import

        return KafkaLog.open(url, create=create)
    raise BadConfiguration(f"the log cannot be at {_scheme(url)!r}", "use sqlite:FILE or kafka://host:port/")


def log_restorer(url: str, home: Path) -> LogRestorer:
    if url.startswith("kafka:"):
        from events.kafka_log import KafkaRestorer

        return KafkaRestorer(url)
    return SqliteRestorer(_file(url, home))


def tables_url(url: str, home: Path) -> str:
    return f"sqlite:{_file(url, home)}" if url.startswith("sqlite:") else url


def object_store(settings: ArchiveSettings, home: Path, *, create: bool = False) -> ObjectStore:
    """The store of an archive. `create`: make its folder."""
    if settings.url.startswith("s3://"):
        from replicator.s3_store import Bucket, S3Store  # boto3 is slow to import

        place = urlsplit(settings.url)
        return S3Store(
            Bucket(
                place.netloc,
                place.path.strip("/"),
                settings.endpoint,
                settings.region,
                settings.access_key,
                settings.secret_key,
            )
        )
    if "://" in settings.url:
        raise BadConfiguration(
            f"an archive cannot be at {_scheme(settings.url)!r}", "use a folder or s3://bucket/prefix"
        )
    return DirectoryStore(home / Path(settings.url).expanduser(), create=create)


def _file(url: str, home: Path) -> Path:
    return home / Path(url.removeprefix("sqlite:").removeprefix("//")).expanduser()


def _scheme(url: str) -> str:
    return url.partition(":")[0]


def archive_place(given: str, home: Path, *, adopted: bool) -> str:
    """The archive as rekam.toml names it. An adopted folder was named from where the operator stands, not from home."""
    if "://" in given or not adopted:
        return given
    folder = Path(given).expanduser().absolute()
    return str(folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)
