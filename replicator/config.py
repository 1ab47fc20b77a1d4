"""archive.json: which archive this is, and who its objects are encrypted to. Written once, leaf 0 of the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from events.errors import BadConfiguration, Corrupt, Refused
from replicator.canonical import canonical, parse_canonical
from replicator.encryption import Recipients
from replicator.manifest import CONFIG_KEY, FORMAT
from replicator.note import Verifier
from replicator.stores import NoSuchObject, ObjectReader


@dataclass(frozen=True)
class ArchiveConfig:
    """What archive.json says."""

    clinic_id: str
    clinic_name: str
    archive_id: str
    recipients: tuple[str, ...]
    verifier: Verifier
    """For information: trust comes from the printed sheet."""

    @property
    def origin(self) -> str:
        """The first line of every note of this archive."""
        return f"{key_name(self.clinic_id)}/{self.archive_id}"

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "format": FORMAT,
                "clinic": {"id": self.clinic_id, "name": self.clinic_name},
                "archive": self.archive_id,
                "origin": self.origin,
                "recipients": list(self.recipients),
                "verifier": str(self.verifier),
            }
        )


def key_name(clinic_id: str) -> str:
    """The name of a clinic's signing key."""
    return f"rekam/{clinic_id}"


def new_config(
    clinic_id: str, clinic_name: str, archive_id: str, recipients: Sequence[str], verifier: Verifier
) -> ArchiveConfig:
    """Checked. Raises BadConfiguration."""
    for name, value in (("clinic", clinic_id), ("archive", archive_id)):
        if len(value) != 32 or any(c not in "0123456789abcdef" for c in value):
            raise BadConfiguration(f"the {name}'s id is not 32 hex digits")
    return ArchiveConfig(clinic_id, clinic_name, archive_id, Recipients(recipients).texts, verifier)


def read_config(store: ObjectReader) -> tuple[ArchiveConfig, bytes]:
    """(config, its bytes). Raises Refused where no archive is, or one of a newer format; Corrupt."""
    try:
        data = store.get(CONFIG_KEY)
    except NoSuchObject:
        raise Refused(
            "there is no archive here: archive.json is missing",
            "name the place where it is; 'rekam init' makes a new one",
        ) from None
    return parse_config(data), data


def parse_config(data: bytes) -> ArchiveConfig:
    raw = parse_canonical(data, CONFIG_KEY)
    found = raw.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise Refused(
            f"the archive has format {found}, and this release reads up to {FORMAT}", "use a newer release"
        )
    try:
        config = _config(raw)
        if found != FORMAT or raw["origin"] != config.origin:
            raise ValueError("contradictory")
    except (KeyError, TypeError, ValueError, AttributeError, BadConfiguration):
        raise Corrupt(f"{CONFIG_KEY} does not say what an archive's does") from None
    return config


def _config(raw: dict[str, Any]) -> ArchiveConfig:
    return new_config(
        raw["clinic"]["id"],
        raw["clinic"]["name"],
        raw["archive"],
        raw["recipients"],
        Verifier.parse(raw["verifier"]),
    )
