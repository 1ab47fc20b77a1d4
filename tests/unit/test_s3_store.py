"""What only S3 can do: retention, checksums, refusals, silence."""

import socket

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from events.errors import BadConfiguration, Refused, StoreUnavailable
from replicator.s3_store import Bucket, Retention, S3Store


def of(bucket, **changes):
    facts = {"access_key": bucket.access, "secret_key": bucket.secret, "endpoint": bucket.endpoint}
    return Bucket(bucket.name, **{**facts, **changes})


@pytest.mark.s3
def test_retention_goes_with_each_put(s3_locked_bucket):
    store = S3Store(of(s3_locked_bucket), Retention(1))
    store.create("log/a", b"kept")
    client = boto3.client(
        "s3",
        endpoint_url=s3_locked_bucket.endpoint,
        aws_access_key_id=s3_locked_bucket.access,
        aws_secret_access_key=s3_locked_bucket.secret,
        region_name="us-east-1",
        config=Config(signature_version="s3v4"),
    )
    version = client.head_object(Bucket=s3_locked_bucket.name, Key="log/a")["VersionId"]
    with pytest.raises(ClientError):
        client.delete_object(Bucket=s3_locked_bucket.name, Key="log/a", VersionId=version)
    assert store.get("log/a") == b"kept"


@pytest.mark.s3
def test_wrong_credentials_are_refused_and_not_shown(s3_bucket):
    secret = "not-the-secret"
    store = S3Store(of(s3_bucket, secret_key=secret))
    with pytest.raises(Refused) as told:
        store.create("a", b"x")
    assert secret not in str(told.value)
    assert secret not in repr(store.bucket)


@pytest.mark.s3
def test_a_missing_bucket_is_a_setting_to_change(s3_bucket):
    bucket = Bucket(
        "no-such-bucket-here", "", s3_bucket.endpoint, "us-east-1", s3_bucket.access, s3_bucket.secret
    )
    with pytest.raises(BadConfiguration, match="no bucket"):
        list(S3Store(bucket).list(""))


def test_nobody_listening_is_unavailable():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        store = S3Store(Bucket("b", "", endpoint, "us-east-1", "a", "s"))
        for call in (lambda: store.get("a"), lambda: list(store.list("")), lambda: store.create("a", b"")):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                call()


def test_a_silent_server_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = S3Store(Bucket("b", "", endpoint, "us-east-1", "a", "s"), read_seconds=0.2)
        with pytest.raises(StoreUnavailable):
            store.get("a")


def test_a_nonsense_endpoint_is_a_setting_to_change():
    with pytest.raises(BadConfiguration):
        S3Store(Bucket("b", "", "no-url", "us-east-1", "a", "s"))
