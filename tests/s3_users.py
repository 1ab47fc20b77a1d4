"""Users of the test gateway, and the bucket policy of deploy/s3 with their names in it."""

from __future__ import annotations

import json
import secrets
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from tests.servers import S3Bucket

POLICY = Path(__file__).resolve().parent.parent / "deploy" / "s3" / "policy.json"


class User(NamedTuple):
    """An access key and its secret."""

    access: str
    secret: str

    def environment(self) -> dict[str, str]:
        return {"REKAM_ARCHIVE__ACCESS_KEY": self.access, "REKAM_ARCHIVE__SECRET_KEY": self.secret}


class Roles(NamedTuple):
    """The three credentials of one bucket, and its owner's."""

    writer: User
    restorer: User
    pruner: User
    owner: User


def client(bucket: S3Bucket, user: User) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        aws_access_key_id=user.access,
        aws_secret_access_key=user.secret,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def with_roles(bucket: S3Bucket) -> Roles:
    """Makes three users and puts the policy in force."""
    owner = User(bucket.access, bucket.secret)
    users = [User(f"{role}{secrets.token_hex(6)}", secrets.token_hex(16)) for role in ("w", "r", "p")]
    for user in users:
        _create_user(bucket, owner, user)
    text = POLICY.read_text().replace("BUCKET", bucket.name)
    for name, user in zip(("WRITER", "RESTORER", "PRUNER"), users, strict=True):
        text = text.replace(f'"{name}"', f'"{user.access}"')
    json.loads(text)
    client(bucket, owner).put_bucket_policy(Bucket=bucket.name, Policy=text)
    return Roles(*users, owner)


def _create_user(bucket: S3Bucket, owner: User, user: User) -> None:
    body = (
        f"<Account><Access>{user.access}</Access><Secret>{user.secret}</Secret><Role>user</Role>"
        "<UserID>0</UserID><GroupID>0</GroupID><ProjectID>0</ProjectID></Account>"
    )
    request = AWSRequest("PATCH", f"{bucket.endpoint}/create-user", data=body.encode())
    S3SigV4Auth(Credentials(owner.access, owner.secret), "s3", "us-east-1").add_auth(request)
    prepared = request.prepare()
    sent = urllib.request.Request(
        prepared.url, data=body.encode(), method="PATCH", headers=dict(prepared.headers.items())
    )
    with urllib.request.urlopen(sent, timeout=10) as answer:
        assert answer.status in (200, 201)
