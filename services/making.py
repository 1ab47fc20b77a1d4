"""Making homes: for a new clinic, for an archive that is there already, and with a further archive."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit

from events.durable import put_durably
from events.envelope import derive_id
from events.errors import (
    BadInput,
    Refused,
    WrongUsage,
)
from events.patient_keys import SECRET_BYTES
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.config import read_config
from replicator.encryption import Recipients, new_identity
from replicator.keys import SEED_BYTES, write_key_file
from replicator.note import Signer, Verifier
from services import owner as owners
from services.home import NEXT_KEYS, SIGNING_KEY, WRAPPING_KEY, Home, load_identity, load_signer
from services.owner import Owner
from services.places import (
    object_store,
    open_log,
    refuse_unknown_places,
)
from services.settings import (
    FILE_NAME,
    FIRST_ARCHIVE,
    ArchiveSettings,
    Settings,
    checked_settings,
)


@dataclass(frozen=True)
class Wanted:
    """What a new home is to be."""

    name: str
    zone: str
    log: str
    tables: str
    archive: ArchiveSettings
    sealing: bool = True
    key_backup: str | None = None
    escrow: tuple[str, ...] = ()
    """Further recipients (`age1…`) of a new archive: who else opens it when the owner's file is lost."""


def make_home(path: Path, wanted: Wanted) -> Home:
    """A new clinic: folder, keys, settings, log, tables, archive. Raises Refused where one is there.

    The settings are written last, so that an init which was stopped half-way is simply run again.
    """
    _refuse_taken(path)
    keys = path / "keys"
    owner = _owner(keys, new_clinic_id=secrets.token_hex(16))
    settings = _settings(owner, wanted, [owner.recipient, *wanted.escrow])
    Recipients(settings.archive.recipients)  # refused here, before anything is made
    refuse_unknown_places(settings)
    _keep(keys, owner)  # before anything relies on it
    home = Home(path, settings)
    _make_archive(home, owner)
    open_log(settings.log.url, path, create=True).close()
    home.tables().close()
    _write_settings(path, settings)
    return home


def adopt_home(path: Path, wanted: Wanted, identity: Path) -> Home:
    """A home for an archive that is there already, on an empty machine. Log and tables come back with `recover`."""
    _refuse_taken(path)
    owner = owners.read_owner(identity)
    wanted_settings = _settings(owner, wanted, [owner.recipient])
    refuse_unknown_places(wanted_settings)
    store = object_store(wanted_settings.archive, path)
    verifier = Verifier.parse(owner.verification_key)
    index = open_archive(store, load_identity(identity), None, [verifier])
    if index.config.clinic_id != owner.clinic_id:
        raise Refused(
            f"the archive is another clinic's than {identity}", "name the archive of this owner's file"
        )
    _refuse_outdated(index, owner, identity)
    keys = path / "keys"
    if (keys / owners.FILE_NAME).exists() and owners.read_owner(keys / owners.FILE_NAME) != owner:
        raise Refused(f"{keys} holds other keys already", "choose another folder with --home")
    _keep(keys, owner)
    settings = _settings(owner, wanted, index.recipients, name=index.config.clinic_name)
    _write_settings(path, settings)
    return Home(path, settings)


def _refuse_outdated(index: ArchiveIndex, owner: Owner, file: Path) -> None:
    """A file of before a rotation would make a home that can neither ship nor read all: better said now."""
    hint = "use the owner's file that was made anew when the keys were rotated"
    if index.head.signer not in [Signer.parse(text).verifier for text in owner.signing_keys]:
        raise Refused(f"{file} is of before the signing key was rotated: it cannot sign for the clinic", hint)
    if index.recipients and not set(index.recipients) & set(load_identity(file).recipients):
        raise Refused(
            f"{file} is of before the owner's identity was rotated: it opens nothing of what was shipped since",
            hint,
        )


def _refuse_taken(path: Path) -> None:
    if (path / FILE_NAME).exists():
        raise Refused(f"{path} holds a clinic already", "choose another folder with --home")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be made: {error.strerror}", "choose another folder with --home"
        ) from None


def new_owner(clinic_id: str) -> Owner:
    signer = Signer(f"rekam/{clinic_id}", secrets.token_bytes(SEED_BYTES))
    text, recipient = new_identity()
    secret = next(line for line in text.splitlines() if not line.startswith("#"))
    return Owner(clinic_id, secret, recipient, signer.secret_text(), str(signer.verifier))


def _owner(keys: Path, new_clinic_id: str) -> Owner:
    """The owner of an init that was stopped half-way, or a new one."""
    if (keys / owners.FILE_NAME).exists():
        return owners.read_owner(keys / owners.FILE_NAME)
    return new_owner(new_clinic_id)


def _keep(keys: Path, owner: Owner) -> None:
    files = {
        owners.FILE_NAME: owners.owner_text(owner),
        SIGNING_KEY: owner.signing_key,
        WRAPPING_KEY: secrets.token_hex(SECRET_BYTES),
    }
    if owner.next_signing_key:
        files[f"{NEXT_KEYS}/{SIGNING_KEY}"] = owner.next_signing_key
    for name, text in files.items():
        if not (keys / name).exists():
            write_key_file(keys / name, text)


def _settings(owner: Owner, wanted: Wanted, recipients: Sequence[str], name: str | None = None) -> Settings:
    return checked_settings(
        {
            "clinic": {"id": owner.clinic_id, "name": name or wanted.name, "zone": wanted.zone},
            "log": {"url": wanted.log},
            "tables": {"url": wanted.tables},
            "archive": {
                **wanted.archive.model_dump(exclude_none=True, exclude_unset=True),
                "recipients": list(recipients),
            },
            "keys": {
                "verification_key": owner.verification_key,
                "sealing": wanted.sealing,
                "backup": wanted.key_backup,
            },
        }
    )


def _make_archive(home: Home, owner: Owner) -> None:
    make_archive(home, Signer.parse(owner.signing_key))


def make_archive(home: Home, signer: Signer) -> Archive:
    """The archive that the settings name, in an empty place. Twice the same is once."""
    clinic, place = home.settings.clinic, home.archive_settings
    return Archive.create(
        object_store(place, home.path, create=True),
        signer,
        clinic_id=clinic.id,
        clinic_name=clinic.name,
        archive_id=archive_id(home.settings, place),
        recipients=place.recipients,
    )


def archive_id(settings: Settings, place: ArchiveSettings) -> str:
    return derive_id("archive", settings.clinic.id, place.url).hex()


def add_archive(home: Home, name: str, wanted: ArchiveSettings) -> Home:
    """A further archive: made in an empty place, and written into rekam.toml. It begins with the log's beginning.

    Twice is once. A copy of another archive is refused: shipped to by itself, it would be a second history with the
    same name, which is what a forger's looks like.
    """
    if name in (FIRST_ARCHIVE, *home.settings.archives):
        raise Refused(f"rekam.toml names an archive {name!r} already", "choose another name")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise WrongUsage(
            f"{name!r} cannot be an archive's name",
            "lower-case letters, digits and -, beginning with a letter",
        )
    place = wanted.model_copy(update={"recipients": home.settings.archive.recipients})
    values = home.settings.model_dump()
    values["archives"][name] = place.model_dump()
    added = replace(home, settings=checked_settings(values), archive_name=name)
    signer = load_signer(home.keys / SIGNING_KEY)
    try:
        found, _ = read_config(object_store(place, home.path, create=True))
    except Refused:
        make_archive(added, signer)
    else:
        if found.archive_id != archive_id(home.settings, place):
            raise Refused(
                f"an archive is at {place.url} already",
                "name an empty place; a copy is kept up to date with 'rekam archive copy'",
            )
    document = tomlkit.parse((home.path / FILE_NAME).read_text(encoding="utf-8"))
    archives = document.setdefault("archives", tomlkit.table(is_super_table=True))
    archives.add(name, tomlkit.item(_kept(place.model_dump(exclude_none=True))))
    put_durably(home.path / FILE_NAME, tomlkit.dumps(document).encode())
    return added


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    """What is written into rekam.toml: no credentials."""
    return {key: value for key, value in values.items() if key not in ("access_key", "secret_key")}


def _write_settings(path: Path, settings: Settings) -> None:
    """rekam.toml with what differs from the defaults, each explained in docs/configuration.md."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Rekam. Every setting is explained in docs/configuration.md."))
    values = settings.model_dump(exclude_none=True)
    for section in ("clinic", "log", "tables", "archive", "keys", "replicator"):
        document.add(section, tomlkit.item(_kept(values[section])))
    (path / FILE_NAME).write_text(tomlkit.dumps(document), encoding="utf-8")
