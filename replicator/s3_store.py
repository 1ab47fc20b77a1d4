"""An object store in an S3 bucket (AWS or anything that speaks its protocol). boto3 is imported here alone.

Creating is a conditional put (`If-None-Match: *`) with a SHA-256 checksum that the server verifies. 412 is
AlreadyThere. 409 is a conditional put that met another one under way: its outcome is unknown, so it may be tried again.
Object Lock retention, where asked for, goes with each put: a bucket's default cannot be seen by everybody who must know
it. boto3's own retries are off: retrying is one decorator's work (`retrying`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from events.errors import BadConfiguration, Refused, RekamError, StoreUnavailable
from replicator.stores import Stored, Version, already_there, check_key, check_object, missing

CONNECT_SECONDS = 5
READ_SECONDS = 30
CONNECTIONS = 32
_AGAIN = ("ConditionalRequestConflict", "OperationAborted", "SlowDown", "RequestTimeout")
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled")


@dataclass(frozen=True)
class Bucket:
    """Where a bucket is and who asks. Without keys, boto3 looks where it always does (environment, roles)."""

    name: str
    prefix: str = ""
    """Before every key, without a slash at its end."""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Retention:
    """Object Lock: nobody can remove an object version before `days` have passed (COMPLIANCE) since its put."""

    days: int
    mode: str = "COMPLIANCE"


class S3Store:
    """Keeps the contract of ObjectStore. `read_seconds`: how long an answer may take."""

    def __init__(
        self, bucket: Bucket, retention: Retention | None = None, *, read_seconds: float = READ_SECONDS
    ) -> None:
        self.bucket = bucket
        self._retention = retention
        self._prefix = f"{bucket.prefix.strip('/')}/" if bucket.prefix.strip("/") else ""
        self._client = _client(bucket, read_seconds)
        self._ahead: timedelta | None = None
        """How far the store's clock is ahead of ours."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return self.get(key, start, 1)[:0]
        ranged = {}
        if start or length is not None:
            last = "" if length is None else start + length - 1
            ranged = {"Range": f"bytes={start}-{last}"}
        try:
            answer = self._client.get_object(Bucket=self.bucket.name, Key=self._key(key), **ranged)
            return bytes(answer["Body"].read())
        except ClientError as error:
            if _status(error) == 416:
                return b""
            raise self._explained(key, error) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise self._silent(error) from error

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        start = {"StartAfter": self._prefix + after} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket.name, Prefix=self._prefix + prefix, **start
        )
        try:
            for page in pages:
                for found in page.get("Contents", ()):
                    yield Stored(
                        found["Key"].removeprefix(self._prefix),
                        found["Size"],
                        int(found["LastModified"].timestamp() * 1000),
                    )
        except ClientError as error:
            raise self._explained(prefix, error) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise self._silent(error) from error

    def create(self, key: str, data: bytes) -> None:
        check_object(key, data)
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            self._client.put_object(
                Bucket=self.bucket.name,
                Key=self._key(key),
                Body=data,
                IfNoneMatch="*",
                ChecksumSHA256=checksum,
                **self._lock(),
            )
        except ClientError as error:
            if _status(error) == 412:
                raise already_there(key) from None
            raise self._explained(key, error) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise self._silent(error) from error

    def remove(self, key: str) -> None:
        """With every version and deletion marker: a marker alone would hide an object and free nothing."""
        name = self._key(key)
        with self._explaining(key):
            for version in list(self.versions(key)):
                if version.key == key:
                    self.remove_version(version)
            if not self.versioned:
                self._client.delete_object(Bucket=self.bucket.name, Key=name)

    def now(self) -> int:
        with self._explaining(""):
            answer = self._client.head_bucket(Bucket=self.bucket.name)
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not date:
            raise Refused("the store does not tell its time", "an S3 server answers with a Date header")
        return int(parsedate_to_datetime(date).timestamp() * 1000)

    def extend(self, key: str) -> bool:
        if self._retention is None:
            return False
        lock = {"Mode": self._retention.mode, "RetainUntilDate": self._until()}
        with self._explaining(key):
            self._client.put_object_retention(Bucket=self.bucket.name, Key=self._key(key), Retention=lock)
        return True

    # -- versions, for who repairs and who removes ----------------------------------------------------------------

    @cached_property
    def versioned(self) -> bool:
        """Whether the bucket keeps what was overwritten or deleted."""
        with self._explaining(""):
            answer = self._client.get_bucket_versioning(Bucket=self.bucket.name)
            return bool(answer.get("Status") == "Enabled")

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version and deletion marker of the keys with a prefix, newest first within a key."""
        if not self.versioned:
            return
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket.name, Prefix=self._prefix + prefix
        )
        with self._explaining(prefix):
            for page in pages:
                for kind, marker in (("Versions", False), ("DeleteMarkers", True)):
                    for found in page.get(kind, ()):
                        yield Version(
                            found["Key"].removeprefix(self._prefix),
                            found["VersionId"],
                            int(found["LastModified"].timestamp() * 1000),
                            found.get("Size", 0),
                            marker,
                            bool(found.get("IsLatest")),
                        )

    def get_version(self, version: Version) -> bytes:
        with self._explaining(version.key):
            answer = self._client.get_object(
                Bucket=self.bucket.name, Key=self._key(version.key), VersionId=version.id
            )
            return bytes(answer["Body"].read())

    def remove_version(self, version: Version) -> None:
        """Raises Refused where it is locked."""
        with self._explaining(version.key):
            self._client.delete_object(
                Bucket=self.bucket.name, Key=self._key(version.key), VersionId=version.id
            )

    def put_over(self, key: str, data: bytes) -> None:
        """The one overwriting there is: to bring back what somebody else wrote over."""
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with self._explaining(key):
            self._client.put_object(
                Bucket=self.bucket.name,
                Key=self._key(key),
                Body=data,
                ChecksumSHA256=checksum,
                **self._lock(),
            )

    @contextmanager
    def _explaining(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._explained(key, error) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise self._silent(error) from error

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _lock(self) -> dict[str, Any]:
        if self._retention is None:
            return {}
        return {"ObjectLockMode": self._retention.mode, "ObjectLockRetainUntilDate": self._until()}

    def _until(self) -> datetime:
        """By the store's clock: one of ours that is behind must not make a lock short."""
        assert self._retention is not None
        if self._ahead is None:
            self._ahead = datetime.fromtimestamp(self.now() / 1000, UTC) - datetime.now(UTC)
        return datetime.now(UTC) + self._ahead + timedelta(days=self._retention.days)

    def _explained(self, key: str, error: ClientError) -> RekamError:
        status, code = _status(error), error.response.get("Error", {}).get("Code", "")
        where = f"s3://{self.bucket.name}/{self._prefix}{key}"
        if code == "NoSuchBucket":
            return BadConfiguration(
                f"there is no bucket {self.bucket.name}", "create it, or name another one"
            )
        if code in ("NoSuchKey", "404"):
            return missing(key)
        if status == 403 or code in _DENIED:
            return Refused(f"{where}: the store refuses ({code})", "check the credentials and the policy")
        if status in (408, 429) or status >= 500 or code in _AGAIN:
            return StoreUnavailable(f"{where}: the store answers {status} {code}", "try again")
        return Refused(f"{where}: the store answers {status} {code}", "see the store's own log")

    def _silent(self, error: Exception) -> StoreUnavailable:
        where = self.bucket.endpoint or f"S3 ({self.bucket.region})"
        return StoreUnavailable(
            f"{where} does not answer ({type(error).__name__})", "check endpoint, network and credentials"
        )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _client(bucket: Bucket, read_seconds: float) -> Any:
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=bucket.endpoint,
            region_name=bucket.region,
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=bucket.secret_key,
            config=Config(
                signature_version="s3v4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=read_seconds,
                retries={"total_max_attempts": 1},
                max_pool_connections=CONNECTIONS,
                s3={"addressing_style": "path" if bucket.endpoint else "auto"},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise BadConfiguration(
            f"the S3 settings cannot be used: {error}", "check endpoint and region"
        ) from error
