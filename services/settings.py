"""Settings: `rekam.toml` in the home folder, and environment variables over it.

`REKAM_LOG__URL` stands for `url` under `[log]`, and so on. Relative paths count from the home folder. A setting that
nobody knows is an error, so that a typing mistake cannot silently mean a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from events.attachments import MOST_BYTES
from events.errors import BadConfiguration, WrongUsage
from replicator.retrying import PATIENCE_SECONDS
from replicator.witnessing.cosignature import WitnessKey
from services.backups.schedule import parse_every

FILE_NAME = "rekam.toml"


def _an_interval(text: str) -> str:
    parse_every(text)
    return text


Every = Annotated[str, AfterValidator(_an_interval)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Clinic(Section):
    """Who this is. `id` is random and names the clinic's stream and its archive."""

    name: str = "Clinic"
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    zone: str = "Asia/Jakarta"

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no such time zone: {zone}") from error
        return zone


class LogSettings(Section):
    """`sqlite:FILE` or `kafka://host:port[,host:port]/[prefix]?partitions=N&replication=N`."""

    url: str = "sqlite:log.db"


class TablesSettings(Section):
    """`sqlite:FILE` or `postgresql+psycopg://user:password@host:port/database`."""

    url: str = "sqlite:tables.db"


class ArchiveSettings(Section):
    """A folder, or `s3://bucket/prefix` with an endpoint; credentials best come from the environment."""

    url: str = "archive"
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = None
    lock_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """S3 Object Lock: how long each object is locked, and locked again while it is needed; 0: not at all."""
    patience_seconds: Annotated[float, Field(ge=0)] = PATIENCE_SECONDS
    """How long an S3 server that does not answer is asked again."""
    recipients: list[str] = []
    """age public keys that can open what is shipped; empty: stored in the clear."""


ArchiveName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
FIRST_ARCHIVE = "archive"
"""The name of the archive under [archive]; further ones have the names under [archives]."""


class KeySettings(Section):
    folder: str = "keys"
    verification_key: str = ""
    """The public key that checkpoints must be signed with: the trust anchor, also on the printed sheet."""
    earlier_verification_keys: list[str] = []
    """Public keys that were rotated away: what this home kept of that time (notes, witnesses' words) bears them."""
    sealing: bool = False
    """Whether patients' events are sealed under keys of their own. What is sealed stays readable either way."""
    backup: str | None = None
    """Where patients' keys are backed up, a folder or s3://bucket/prefix; else `key-backups` beside the archive."""
    backup_days: Annotated[float, Field(ge=0)] = 30.0
    """How long a backup of keys is kept that a newer one has replaced: so long it may hold what was erased."""


class ErasureSettings(Section):
    retention_years: Annotated[float, Field(ge=0)] = 25.0
    """A patient is not erased, unless ordered, before their last event is this old."""


MEDIA_TYPES = (
    "application/dicom",
    "application/pdf",
    "application/rtf",
    "application/xml",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "text/html",
    "text/markdown",
    "text/plain",
    "text/rtf",
    "text/xml",
)


class AttachmentSettings(Section):
    """The files of attached documents: where they are kept, and which are taken."""

    folder: str = "attachments"
    limit_bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)] = 25 * 1024 * 1024
    media_types: list[Annotated[str, Field(pattern=r"^[a-z0-9.+-]+/[a-z0-9.+-]+$")]] = list(MEDIA_TYPES)


class ReplicatorSettings(Section):
    interval_seconds: Annotated[float, Field(gt=0)] | None = None
    """How often the log is shipped: the most that can be lost with every disk but the archive's (RPO). None: it
    follows from the objective, else 10 s."""
    segment_bytes: Annotated[int, Field(ge=64 * 1024, le=256 * 1024 * 1024)] = 4 * 1024 * 1024
    snapshot_hours: Annotated[float, Field(gt=0)] | None = None
    """The older way to say how often a full backup is taken."""


class BackupSettings(Section):
    """How often: hourly, daily, weekly, monthly, never, or like '6 h', '90 min', '2 d'."""

    full: Every | None = None
    """None: as the RTO needs it, else weekly."""
    differential: Every = "daily"


class VerificationSettings(Section):
    """How often all of the archive is verified, by depth; each takes in those before it."""

    listing: Every = "never"
    digests: Every = "weekly"
    decode: Every = "never"
    restore: Every = "monthly"
    sentinel: Every = "never"


class DrillSettings(Section):
    """How often a recovery to a random moment is rehearsed."""

    every: Every = "monthly"


class HoldSettings(Section):
    """Backups of these days are kept, whatever their age: a court, an insurer or the ministry asked for it."""

    first: date
    last: date
    reason: str


class RetentionSettings(Section):
    """How long backups are kept, by the archive's store's clock; the newest so many of each kind always."""

    full_days: Annotated[float, Field(ge=0)] = 90
    full_newest: Annotated[int, Field(ge=1)] = 4
    differential_days: Annotated[float, Field(ge=0)] = 30
    differential_newest: Annotated[int, Field(ge=0)] = 7
    incremental_days: Annotated[float, Field(ge=0)] = 30
    incremental_newest: Annotated[int, Field(ge=0)] = 0
    automatic: bool = True
    """Whether `rekam run` and `rekam replicate` take off the catalogue what has been kept long enough."""
    holds: list[HoldSettings] = []


class AlertSettings(Section):
    """Who is told when status turns red: a command that gets JSON on its standard input, a URL it is posted to."""

    command: list[str] = []
    webhook: str | None = None
    every_seconds: Annotated[float, Field(gt=0)] = 60.0
    repeat_hours: Annotated[float, Field(gt=0)] = 6.0


class ObjectivesSettings(Section):
    rpo_seconds: Annotated[float, Field(gt=0)] | None = None
    """At most so much of the newest work may be lost with every disk but the archive's."""
    rto_seconds: Annotated[float, Field(gt=0)] | None = None
    """After so long the clinic is to work again, with every disk but the archive's lost."""


class WitnessSettings(Section):
    """Who cosigns our checkpoints, where it answers, and its public key."""

    name: ArchiveName
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    key: str

    @field_validator("key")
    @classmethod
    def _a_key(cls, key: str) -> str:
        try:
            return str(WitnessKey.parse(key))
        except BadConfiguration as error:
            raise ValueError(
                f"{error.message}: a witness's public key, as 'rekam witness init' shows it"
            ) from error


class RecoverySettings(Section):
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that fold at once; 0: one a core."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="REKAM_",
        env_nested_delimiter="__",
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    clinic: Clinic
    log: LogSettings = LogSettings()
    tables: TablesSettings = TablesSettings()
    archive: ArchiveSettings = ArchiveSettings()
    archives: dict[ArchiveName, ArchiveSettings] = {}
    """Further archives: each with its own progress, lag and failures."""
    keys: KeySettings = KeySettings()
    erasure: ErasureSettings = ErasureSettings()
    attachments: AttachmentSettings = AttachmentSettings()
    replicator: ReplicatorSettings = ReplicatorSettings()
    recovery: RecoverySettings = RecoverySettings()
    backup: BackupSettings = BackupSettings()
    verification: VerificationSettings = VerificationSettings()
    drill: DrillSettings = DrillSettings()
    objectives: ObjectivesSettings = ObjectivesSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    witnesses: list[WitnessSettings] = []

    @field_validator("archives")
    @classmethod
    def _named_once(cls, archives: dict[str, ArchiveSettings]) -> dict[str, ArchiveSettings]:
        if FIRST_ARCHIVE in archives:
            raise ValueError(f"the name {FIRST_ARCHIVE!r} is that of [archive]; choose another one")
        return archives

    @field_validator("witnesses")
    @classmethod
    def _each_once(cls, witnesses: list[WitnessSettings]) -> list[WitnessSettings]:
        if len({witness.name for witness in witnesses}) < len(witnesses):
            raise ValueError("each witness has a name of its own")
        return witnesses


def load_settings(home: Path) -> Settings:
    """The settings of a home folder. Raises BadConfiguration naming the file and the setting."""
    path = home / FILE_NAME
    if not path.is_file():
        raise BadConfiguration(
            f"no {FILE_NAME} in {home}",
            "name the folder with --home or REKAM_HOME; for a new clinic: 'rekam init'; after a loss, with the archive "
            "that is left: 'rekam init --from ARCHIVE --identity owner.txt'",
        )
    try:
        return _from_file(path)()  # the file and the environment give the arguments
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "(file)"
        raise BadConfiguration(f"{path}: {where}: {first['msg']}", "see docs/configuration.md") from None
    except ValueError as error:
        raise BadConfiguration(f"{path} is not valid TOML: {error}", "mend the line named") from None
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be read: {error.strerror}", "check its permissions") from None


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """Settings that were typed as options. Raises WrongUsage naming the first that is wrong."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise WrongUsage(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _from_file(path: Path) -> type[Settings]:
    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, TomlConfigSettingsSource(settings_cls, path)

    return FromFile
