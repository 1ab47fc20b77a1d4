"""The home folder: what `rekam init` makes, and the parts of the system as its rekam.toml names them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import tomlkit

from events.clock import Clock, wall_millis
from events.envelope import derive_id
from events.errors import ArchiveDiverged, BadConfiguration, BadInput, Corrupt, Refused, Unavailable
from events.log import EventLog, LogReader, LogRestorer
from events.patient_keys import SECRET_BYTES, KeyStore
from events.sealing import Encoder, Opener, Reveal, Sealer
from events.sqlite_file import folder_lock
from events.sqlite_keys import SqliteKeys
from projections.store import Tables, open_tables
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.encryption import Identity, new_identity
from replicator.key_backup import KeyBackup
from replicator.keys import SEED_BYTES, load_signing_key, write_key_file
from replicator.note import Signer, Verifier, open_note, parse_head
from replicator.shipper import Shipper
from replicator.stores import ObjectStore
from services import owner as owners
from services.owner import Owner
from services.places import (
    discard_tables,
    key_backup_url,
    log_restorer,
    object_store,
    open_log,
    refuse_unknown_places,
    tables_url,
)
from services.settings import FILE_NAME, ArchiveSettings, Settings, checked_settings, load_settings

SIGNING_KEY = "signing.key"
SEEN = Path("seen") / "newest.note"
BEGUN = "recovery.json"
PATIENT_KEYS = "patients.db"
WRAPPING_KEY = "wrapping.key"


@dataclass(frozen=True)
class Home:
    """One clinic's home folder. Nothing is opened before it is asked for."""

    path: Path
    settings: Settings
    clock: Clock = wall_millis

    @classmethod
    def open(cls, path: Path) -> Home:
        """Raises BadConfiguration."""
        return cls(path, load_settings(path))

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.settings.clinic.zone)

    @property
    def keys(self) -> Path:
        return self.path / self.settings.keys.folder

    @property
    def workers(self) -> int:
        """Processes that fold at once."""
        return self.settings.recovery.workers or os.cpu_count() or 1

    @property
    def interval_seconds(self) -> float:
        return self.settings.replicator.interval_seconds

    @property
    def snapshot_millis(self) -> int:
        return round(self.settings.replicator.snapshot_hours * 3_600_000)

    # -- the system's parts (services.system.System) ------------------------------------------------------------

    def log(self) -> EventLog:
        return open_log(self.settings.log.url, self.path)

    def restorer(self) -> LogRestorer:
        return log_restorer(self.settings.log.url, self.path)

    def tables(self, *, check: bool = True) -> Tables:
        return open_tables(
            tables_url(self.settings.tables.url, self.path), create=True, check=check, reveal=self.reveal()
        )

    def discard_tables(self) -> None:
        discard_tables(self.settings.tables.url, self.path)

    def store(self) -> ObjectStore:
        return object_store(self.settings.archive, self.path)

    def archive(self) -> ArchiveIndex:
        return open_archive(self.store(), self.identity(), self.seen(), [self.verifier()])

    def writer(self) -> Archive:
        """Raises ArchiveDiverged where the archive would seal what is shipped to others than our settings name."""
        archive = Archive.open(self.store(), _signer(self.keys / SIGNING_KEY))
        if set(archive.config.recipients) != set(self.settings.archive.recipients):
            raise ArchiveDiverged(
                "archive.json names other recipients than rekam.toml does: nothing is shipped to them",
                "compare both with the printed sheet: somebody changed one of them",
            )
        return archive

    def shipper(self, log: EventLog) -> Shipper:
        size = self.settings.replicator.segment_bytes
        return Shipper(
            log,
            self.writer(),
            segment_bytes=size,
            seen=self.seen() or b"",
            clock=self.clock,
            ready=partial(self._back_up_keys, self.key_backup()),
        )

    def _back_up_keys(self, backup: KeyBackup) -> None:
        with closing(self.patient_keys()) as keys:
            backup.bring_up_to_date(keys)

    def begun(self) -> bytes | None:
        try:
            return (self.path / BEGUN).read_bytes()
        except OSError:
            return None  # a recovery needs no note: it only tells more by it

    def keep_begun(self, note: bytes | None) -> None:
        path = self.path / BEGUN
        try:
            if note is None:
                path.unlink(missing_ok=True)
            else:
                _put_in_place(path, note)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}", "check who owns it") from None

    def log_opener(self) -> Callable[[], LogReader]:
        return partial(open_log, self.settings.log.url, self.path)

    def archive_opener(self) -> Callable[[], LogReader]:
        return partial(_open_archive_at, self.path)

    # -- keys ---------------------------------------------------------------------------------------------------

    def patient_keys(self) -> KeyStore:
        """A connection of its own to the store of the patients' keys; close it."""
        file, wrapping = self.keys / PATIENT_KEYS, self.keys / WRAPPING_KEY
        if not wrapping.exists() and not file.exists() and self.keys.is_dir():
            with suppress(Refused):  # another process has just made it
                write_key_file(wrapping, secrets.token_hex(SECRET_BYTES))
        return SqliteKeys(file, wrapping, self.clock)

    def key_backup(self) -> KeyBackup:
        """Where the patients' keys are backed up."""
        settings = self.settings
        url = key_backup_url(settings)
        place = settings.archive.model_copy(update={"url": url})
        return KeyBackup(
            lambda create: object_store(place, self.path, create=create),
            settings.clinic.id,
            settings.archive.recipients,
            place=url,
            keep_days=settings.keys.backup_days,
            clock=self.clock,
        )

    def reveal(self) -> Reveal:
        """What opens sealed events."""
        return Opener(self.patient_keys())

    def encoder(self) -> Encoder:
        """How events are written."""
        return Sealer(self.patient_keys(), sealing=self.settings.keys.sealing)

    def identity(self) -> Identity | None:
        """What opens the archive, where this machine holds it."""
        path = self.keys / owners.FILE_NAME
        return _identity(path) if path.exists() else None

    def seen(self) -> bytes | None:
        """The newest checkpoint's note that this home has seen: an archive that was rolled back shows by it."""
        path = self.keys / SEEN
        try:
            note = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise BadConfiguration(f"{path} cannot be read: {error.strerror}", "check who owns it") from None
        if not note:
            return None
        try:
            self._leaves(note)
        except (Corrupt, BadInput) as error:
            hint = "take it from a copy; once it is deleted, an archive rolled back up to now does not show"
            raise Corrupt(error.message, hint) from None
        return note

    def remember(self, note: bytes) -> None:
        """Keeps a newer note in place of the one seen before; an older one, of a slower process, is passed over."""
        path = self.keys / SEEN
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with folder_lock(path.parent):
                seen = self.seen()
                if seen is None or self._leaves(note) > self._leaves(seen):
                    _put_in_place(path, note)
        except OSError as error:
            raise Unavailable(
                f"{path} cannot be written: {error.strerror}",
                "the checkpoint is in the archive; make room or rights here, then do it again",
            ) from None

    def _leaves(self, note: bytes) -> int:
        """How many leaves a note signs: it grows with every checkpoint. Raises Corrupt, BadInput."""
        where = str(self.keys / SEEN)
        return parse_head(open_note(note, [self.verifier()], where), where).size

    def verifier(self) -> Verifier:
        """The trust anchor. Raises BadConfiguration."""
        if not self.settings.keys.verification_key:
            raise BadConfiguration(
                f"{self.path / FILE_NAME}: keys.verification_key is empty", "copy it from the printed sheet"
            )
        return Verifier.parse(self.settings.keys.verification_key)


def _put_in_place(path: Path, data: bytes) -> None:
    """The file is there whole or as it was. Raises OSError."""
    fresh = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _open_archive_at(path: Path) -> ArchiveIndex:
    return Home.open(path).archive()


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


def make_home(path: Path, wanted: Wanted) -> Home:
    """A new clinic: folder, keys, settings, log, tables, archive. Raises Refused where one is there.

    The settings are written last, so that an init which was stopped half-way is simply run again.
    """
    _refuse_taken(path)
    keys = path / "keys"
    owner = _owner(keys, new_clinic_id=secrets.token_hex(16))
    settings = _settings(owner, wanted)
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
    wanted_settings = _settings(owner, wanted)
    refuse_unknown_places(wanted_settings)
    store = object_store(wanted_settings.archive, path)
    verifier = Verifier.parse(owner.verification_key)
    index = open_archive(store, _identity(identity), None, [verifier])
    if index.config.clinic_id != owner.clinic_id:
        raise Refused(
            f"the archive is another clinic's than {identity}", "name the archive of this owner's file"
        )
    keys = path / "keys"
    if (keys / owners.FILE_NAME).exists() and owners.read_owner(keys / owners.FILE_NAME) != owner:
        raise Refused(f"{keys} holds other keys already", "choose another folder with --home")
    _keep(keys, owner)
    settings = _settings(owner, wanted, name=index.config.clinic_name)
    _write_settings(path, settings)
    return Home(path, settings)


def _refuse_taken(path: Path) -> None:
    if (path / FILE_NAME).exists():
        raise Refused(f"{path} holds a clinic already", "choose another folder with --home")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be made: {error.strerror}", "choose another folder with --home"
        ) from None


def _identity(path: Path) -> Identity:
    """Raises BadConfiguration naming the file."""
    try:
        return Identity(owners.read_owner(path).identity)
    except BadConfiguration as error:
        raise BadConfiguration(f"{path}: {error.message}", "restore the file from its copy") from None


def _signer(path: Path) -> Signer:
    """Raises BadConfiguration naming the file."""
    try:
        return load_signing_key(path)
    except BadConfiguration as error:
        if str(path) in error.message:
            raise
        raise BadConfiguration(f"{path}: {error.message}", "restore the file from its copy") from None


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
    for name, text in files.items():
        if not (keys / name).exists():
            write_key_file(keys / name, text)


def _settings(owner: Owner, wanted: Wanted, name: str | None = None) -> Settings:
    return checked_settings(
        {
            "clinic": {"id": owner.clinic_id, "name": name or wanted.name, "zone": wanted.zone},
            "log": {"url": wanted.log},
            "tables": {"url": wanted.tables},
            "archive": {**wanted.archive.model_dump(exclude_none=True), "recipients": [owner.recipient]},
            "keys": {
                "verification_key": owner.verification_key,
                "sealing": wanted.sealing,
                "backup": wanted.key_backup,
            },
        }
    )


def _make_archive(home: Home, owner: Owner) -> None:
    clinic = home.settings.clinic
    Archive.create(
        object_store(home.settings.archive, home.path, create=True),
        Signer.parse(owner.signing_key),
        clinic_id=clinic.id,
        clinic_name=clinic.name,
        archive_id=derive_id("archive", clinic.id, home.settings.archive.url).hex(),
        recipients=[owner.recipient],
    )


def _write_settings(path: Path, settings: Settings) -> None:
    """rekam.toml with what differs from the defaults, each explained in docs/configuration.md."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Rekam. Every setting is explained in docs/configuration.md."))
    values = settings.model_dump(exclude_none=True)
    for section in ("clinic", "log", "tables", "archive", "keys", "replicator"):
        kept = {
            key: value for key, value in values[section].items() if key not in ("access_key", "secret_key")
        }
        document.add(section, tomlkit.item(kept))
    (path / FILE_NAME).write_text(tomlkit.dumps(document), encoding="utf-8")
