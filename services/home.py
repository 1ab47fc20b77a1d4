"""The home folder: what `rekam init` makes, and the parts of the system as its rekam.toml names them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from events.attachments import Attachments
from events.blobs import BlobStore
from events.clock import Clock, wall_millis
from events.directory_blobs import DirectoryBlobs
from events.durable import put_durably
from events.errors import (
    ArchiveDiverged,
    BadConfiguration,
    BadInput,
    Corrupt,
    Refused,
    Unavailable,
    WrongUsage,
)
from events.log import EventLog, LogReader, LogRestorer
from events.patient_keys import SECRET_BYTES, KeyStore
from events.sealing import Encoder, Opener, Reveal, Sealer
from events.sqlite_file import folder_lock
from events.sqlite_keys import SqliteKeys
from projections.store import Tables, open_tables
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.backups import Kind
from replicator.encryption import Identity
from replicator.key_backup import KeyBackup
from replicator.keys import load_signing_key, write_key_file
from replicator.merging import DAY as DAY_MILLIS
from replicator.note import Signer, Verifier, open_note, parse_head
from replicator.shipper import Shipper
from replicator.stores import ObjectStore
from replicator.verifications import Depth
from services import owner as owners
from services.backups.cadence import Objectives, interval_seconds
from services.backups.policy import Hold, Keep, Policy
from services.backups.schedule import Schedule, full_millis, parse_every
from services.places import (
    discard_tables,
    key_backup_url,
    log_restorer,
    object_store,
    open_log,
    tables_url,
)
from services.settings import (
    FILE_NAME,
    FIRST_ARCHIVE,
    ArchiveSettings,
    Settings,
    load_settings,
)
from services.watching.alerts import Channel

SIGNING_KEY = "signing.key"
NEXT_KEYS = "next"
SEEN = Path("seen")
BEGUN = "recovery.json"
RATES = "rates.json"
PATIENT_KEYS = "patients.db"
WRAPPING_KEY = "wrapping.key"


@dataclass(frozen=True)
class Home:
    """One clinic's home folder. Nothing is opened before it is asked for."""

    path: Path
    settings: Settings
    clock: Clock = wall_millis
    archive_name: str = FIRST_ARCHIVE
    """Of several archives, the one that everything here is about."""

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
        return self.settings.replicator.interval_seconds or interval_seconds(self.schedule.objectives)

    @property
    def retention(self) -> Policy:
        found = self.settings.retention
        keep = {
            Kind.FULL: Keep(found.full_newest, found.full_days),
            Kind.DIFFERENTIAL: Keep(found.differential_newest, found.differential_days),
            Kind.INCREMENTAL: Keep(found.incremental_newest, found.incremental_days),
        }
        holds = [Hold(*_days(h.first, h.last, self.zone), h.reason) for h in found.holds]
        return Policy(keep, holds, found.automatic)

    @property
    def schedule(self) -> Schedule:
        backup, objectives = self.settings.backup, Objectives(**self.settings.objectives.model_dump())
        full = full_millis(backup.full, self.settings.replicator.snapshot_hours, objectives)
        every = {Depth(d): parse_every(text) for d, text in self.settings.verification.model_dump().items()}
        verification = {depth: millis for depth, millis in every.items() if millis is not None}
        drill = parse_every(self.settings.drill.every)
        return Schedule(full, parse_every(backup.differential), objectives, verification, drill)

    @property
    def lock_millis(self) -> int:
        return self.archive_settings.lock_days * DAY_MILLIS

    @property
    def alerts(self) -> Channel | None:
        """How somebody is told; None where rekam.toml says nothing of it."""
        found = self.settings.alerts
        if not found.command and not found.webhook:
            return None
        repeat = round(found.repeat_hours * 3_600_000)
        return Channel(tuple(found.command), found.webhook, found.every_seconds, repeat)

    # -- the system's parts (services.system.System) ------------------------------------------------------------

    def archives(self) -> list[Home]:
        """This home with each of its archives, the first one first."""
        return [replace(self, archive_name=name) for name in (FIRST_ARCHIVE, *self.settings.archives)]

    def with_archive(self, name: str) -> Home:
        """This home with that archive. Raises WrongUsage naming those that there are."""
        named = [FIRST_ARCHIVE, *self.settings.archives]
        if name not in named:
            raise WrongUsage(f"rekam.toml names no archive {name!r}", f"it names: {', '.join(named)}")
        return replace(self, archive_name=name)

    @property
    def archive_settings(self) -> ArchiveSettings:
        if self.archive_name == FIRST_ARCHIVE:
            return self.settings.archive
        return self.settings.archives[self.archive_name]

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
        return object_store(self.archive_settings, self.path)

    def archive(self) -> ArchiveIndex:
        return open_archive(self.store(), self.identity(), self.seen(), [self.verifier()])

    def writer(self) -> Archive:
        """Raises ArchiveDiverged where the archive would seal what is shipped to others than our settings name."""
        archive = self.any_writer()
        if set(archive.recipients) != set(self.recipients):
            with self._no_rotation():
                archive = self.any_writer()
                if set(archive.recipients) != set(self.recipients):
                    raise ArchiveDiverged(
                        "the archive names other recipients than rekam.toml does: nothing is shipped to them",
                        "somebody changed one of them; a rotation that was stopped goes on with the same command",
                    )
        return archive

    def any_writer(self) -> Archive:
        """The archive's writing side, whoever opens what it seals."""
        (signer, *_) = self.signers()
        return Archive.open(self.store(), signer, self.signers)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who is to open what is archived, as rekam.toml says now."""
        now = self.settings_now()
        place = now.archive if self.archive_name == FIRST_ARCHIVE else now.archives.get(self.archive_name)
        return tuple((place or self.archive_settings).recipients)

    @contextmanager
    def _no_rotation(self) -> Iterator[None]:
        """Waits for a rotation that is under way: between two steps of it rekam.toml lags behind the archive."""
        if not self.next_keys.is_dir():
            yield
            return
        with folder_lock(self.next_keys):
            yield

    def settings_now(self) -> Settings:
        """As rekam.toml says them now: keys may be rotated while this process runs."""
        try:
            return load_settings(self.path)
        except BadConfiguration:
            return self.settings  # not there yet, or under somebody's hands

    def shipper(self, log: EventLog, archive: Archive | None = None) -> Shipper:
        """`archive`: where it is open already."""
        size = self.settings.replicator.segment_bytes
        return Shipper(
            log,
            archive or self.writer(),
            segment_bytes=size,
            seen=self.seen() or b"",
            clock=self.clock,
            ready=self._keys_backer(),
            blobs=self.blobs(),
        )

    def _keys_backer(self) -> Callable[[], None]:
        """Backs up the patients' keys, for whoever opens them by then."""
        backup = self.key_backup()

        def back_up() -> None:
            nonlocal backup
            if backup.recipients != tuple(self.settings_now().archive.recipients):
                backup = self.key_backup()
            with closing(self.patient_keys()) as keys:
                backup.bring_up_to_date(keys)

        return back_up

    def begun(self) -> bytes | None:
        try:
            return (self.path / BEGUN).read_bytes()
        except OSError:
            return None  # a recovery needs no note: it only tells more by it

    def keep_begun(self, note: bytes | None) -> None:
        self._keep_note(BEGUN, note)

    def measured(self) -> bytes | None:
        try:
            return (self.path / RATES).read_bytes()
        except OSError:
            return None  # then rates are assumed

    def keep_measured(self, note: bytes) -> None:
        self._keep_note(RATES, note)

    def _keep_note(self, name: str, note: bytes | None) -> None:
        path = self.path / name
        try:
            if note is None:
                path.unlink(missing_ok=True)
            else:
                put_durably(path, note)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}", "check who owns it") from None

    def log_opener(self) -> Callable[[], LogReader]:
        return partial(open_log, self.settings.log.url, self.path)

    def archive_opener(self) -> Callable[[], ArchiveIndex]:
        return partial(_open_archive_at, self.path, self.archive_name)

    # -- attachments --------------------------------------------------------------------------------------------

    def blobs(self) -> BlobStore:
        return DirectoryBlobs(self.path / Path(self.settings.attachments.folder).expanduser())

    def attachments(self, keys: KeyStore) -> Attachments:
        sealing, limit = self.settings.keys.sealing, self.settings.attachments.limit_bytes
        return Attachments(self.blobs(), keys, sealing=sealing, limit_bytes=limit)

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
            self.settings_now().archive.recipients,
            place=url,
            keep_days=settings.keys.backup_days,
            signer=lambda: load_signer(self.keys / SIGNING_KEY),
            verifiers=self.known_keys,
            clock=self.clock,
        )

    @property
    def next_keys(self) -> Path:
        """Where a rotation keeps what is to come into force, from its first step to its last."""
        return self.keys / NEXT_KEYS

    def signers(self) -> list[Signer]:
        """The signing keys on this machine: the one in force everywhere, and the next while it comes into force."""
        paths = [self.keys / SIGNING_KEY, self.next_keys / SIGNING_KEY]
        return [load_signer(path) for path in paths if path == paths[0] or path.exists()]

    def known_keys(self) -> list[Verifier]:
        """What notes that this home kept may be signed with. Raises BadConfiguration."""
        earlier = map(Verifier.parse, self.settings_now().keys.earlier_verification_keys)
        known = [self.verifier(), *earlier]
        with suppress(BadConfiguration):  # nothing can be shipped then, which says so itself; reading goes on
            known += [signer.verifier for signer in self.signers()]
        return known

    def reveal(self) -> Reveal:
        """What opens sealed events."""
        return Opener(self.patient_keys())

    def encoder(self) -> Encoder:
        """How events are written."""
        return Sealer(self.patient_keys(), sealing=self.settings.keys.sealing)

    def identity(self) -> Identity | None:
        """What opens the archive, where this machine holds it."""
        path = self.keys / owners.FILE_NAME
        return load_identity(path) if path.exists() else None

    @property
    def seen_path(self) -> Path:
        name = "newest" if self.archive_name == FIRST_ARCHIVE else self.archive_name
        return self.keys / SEEN / f"{name}.note"

    def seen(self) -> bytes | None:
        """The newest checkpoint's note that this home has seen: an archive that was rolled back shows by it."""
        path = self.seen_path
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
        path = self.seen_path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with folder_lock(path.parent):
                seen = self.seen()
                if seen is None or self._leaves(note) > self._leaves(seen):
                    put_durably(path, note)
        except OSError as error:
            raise Unavailable(
                f"{path} cannot be written: {error.strerror}",
                "the checkpoint is in the archive; make room or rights here, then do it again",
            ) from None

    def _leaves(self, note: bytes) -> int:
        """How many leaves a note signs: it grows with every checkpoint. Raises Corrupt, BadInput."""
        where = str(self.seen_path)
        return parse_head(open_note(note, self.known_keys(), where), where).size

    def verifier(self) -> Verifier:
        """The trust anchor. Raises BadConfiguration."""
        if not self.settings.keys.verification_key:
            raise BadConfiguration(
                f"{self.path / FILE_NAME}: keys.verification_key is empty", "copy it from the printed sheet"
            )
        return Verifier.parse(self.settings.keys.verification_key)


def _days(first: date, last: date, zone: ZoneInfo) -> tuple[int, int]:
    """The first and the last millisecond of some days in a zone."""
    begin, end = (datetime.combine(day, time(), zone) for day in (first, last + timedelta(days=1)))
    return round(begin.timestamp() * 1000), round(end.timestamp() * 1000) - 1


def _open_archive_at(path: Path, name: str) -> ArchiveIndex:
    return Home.open(path).with_archive(name).archive()


def load_identity(path: Path) -> Identity:
    """Raises BadConfiguration naming the file."""
    try:
        return Identity("\n".join(owners.read_owner(path).identities))
    except BadConfiguration as error:
        raise BadConfiguration(f"{path}: {error.message}", "restore the file from its copy") from None


def load_signer(path: Path) -> Signer:
    """Raises BadConfiguration naming the file."""
    try:
        return load_signing_key(path)
    except BadConfiguration as error:
        if str(path) in error.message:
            raise
        raise BadConfiguration(f"{path}: {error.message}", "restore the file from its copy") from None
