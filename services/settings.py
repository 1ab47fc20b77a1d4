"""Settings: `rekam.toml` in the home folder, and environment variables over it.

`REKAM_LOG__URL` stands for `url` under `[log]`, and so on. Relative paths count from the home folder. A setting that
nobody knows is an error, so that a typing mistake cannot silently mean a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from events.errors import BadConfiguration, WrongUsage
from replicator.retrying import PATIENCE_SECONDS

FILE_NAME = "rekam.toml"


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
    patience_seconds: Annotated[float, Field(ge=0)] = PATIENCE_SECONDS
    """How long an S3 server that does not answer is asked again."""
    recipients: list[str] = []
    """age public keys that can open what is shipped; empty: stored in the clear."""


class KeySettings(Section):
    folder: str = "keys"
    verification_key: str = ""
    """The public key that checkpoints must be signed with: the trust anchor, also on the printed sheet."""
    sealing: bool = False
    """Whether patients' events are sealed under keys of their own. What is sealed stays readable either way."""
    backup: str | None = None
    """Where patients' keys are backed up, a folder or s3://bucket/prefix; else `key-backups` beside the archive."""
    backup_days: Annotated[float, Field(ge=0)] = 30.0
    """How long a backup of keys is kept that a newer one has replaced: so long it may hold what was erased."""


class ErasureSettings(Section):
    retention_years: Annotated[float, Field(ge=0)] = 25.0
    """A patient is not erased, unless ordered, before their last event is this old."""


class ReplicatorSettings(Section):
    interval_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How often the log is shipped: the most that can be lost with every disk but the archive's (RPO)."""
    segment_bytes: Annotated[int, Field(ge=64 * 1024, le=256 * 1024 * 1024)] = 4 * 1024 * 1024
    snapshot_hours: Annotated[float, Field(gt=0)] = 24.0


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
    keys: KeySettings = KeySettings()
    erasure: ErasureSettings = ErasureSettings()
    replicator: ReplicatorSettings = ReplicatorSettings()
    recovery: RecoverySettings = RecoverySettings()


def load_settings(home: Path) -> Settings:
    """The settings of a home folder. Raises BadConfiguration naming the file and the setting."""
    path = home / FILE_NAME
    if not path.is_file():
        raise BadConfiguration(
            f"no {FILE_NAME} in {home}",
            "make one with 'rekam init', or name the folder with --home or REKAM_HOME",
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
