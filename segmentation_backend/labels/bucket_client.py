"""How to reach a bucket: one client per process, whatever the environment says."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Protocol

from obstore.store import S3Store

from segmentation_backend.errors import ErrorKind, ResourceError

if TYPE_CHECKING:
    from obstore.store import S3Credential

__all__ = ["TIMEOUT_S", "BucketAccess", "Connection"]

TIMEOUT_S = 15.0
"""How long a server may be silent, and after how long no request is repeated any more.

A commit that is moved onto newer voxels writes its pack under the database's write lock, and others
wait for that for at most 30 s.
"""

_RETRIES = 3


class BucketAccess(Protocol):
    """How to reach S3; without a key, anonymously. `sources.CloudSettings` is one."""

    @property
    def endpoint_url(self) -> str | None:
        """Another server than Amazon's."""

    @property
    def access_key_id(self) -> str | None:
        """Who asks."""

    @property
    def secret_access_key(self) -> str | None:
        """What requests are signed with."""

    @property
    def session_token(self) -> str | None:
        """What comes with a key that is lent for a while."""

    @property
    def region(self) -> str | None:
        """Where the bucket is; us-east-1 when unset."""


@dataclass(frozen=True)
class Connection:
    """A bucket and how to reach it; equal ones share a client."""

    bucket: str
    endpoint: str | None
    region: str
    timeout_s: float
    key: str | None = field(repr=False)
    secret: str | None = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def to(
        cls, bucket: str, cloud: BucketAccess | None, server: str | None, timeout_s: float
    ) -> Connection:
        """Return how to reach a bucket; `server` wins over the one that `cloud` names."""
        return cls(
            bucket=bucket,
            endpoint=(server or (cloud.endpoint_url if cloud else None) or "").rstrip("/") or None,
            region=(cloud.region if cloud else None) or "us-east-1",
            timeout_s=timeout_s,
            key=cloud.access_key_id if cloud else None,
            secret=cloud.secret_access_key if cloud else None,
            token=cloud.session_token if cloud else None,
        )

    def client(self) -> S3Store:
        """Return this process's client; safe to use from many threads.

        Raises ResourceError (SOURCE_UNAVAILABLE) in a process that cannot have one.
        """
        return _client(self, os.getpid())


@lru_cache(maxsize=32)
def _client(connection: Connection, process: int) -> S3Store:
    if _first_process() != process:
        raise ResourceError(
            "This process was forked from one that had reached a bucket already, so it cannot "
            "reach one itself; start processes with the spawn or forkserver method.",
            ErrorKind.SOURCE_UNAVAILABLE,
        )
    # All that the library would else take from the environment is said here.
    server = connection.endpoint or f"https://s3.{connection.region}.amazonaws.com"
    return S3Store(
        connection.bucket,
        aws_endpoint_url_s3=server,
        endpoint=server,
        region=connection.region,
        virtual_hosted_style_request=False,
        skip_signature=not (connection.key and connection.secret),
        credential_provider=partial(_credential, connection),
        # One DELETE per object is what every server knows.
        disable_bulk_delete=True,
        client_options={
            "allow_http": server.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5.0, connection.timeout_s)),
            "read_timeout": timedelta(seconds=connection.timeout_s),
            "timeout": timedelta(seconds=4 * connection.timeout_s),
        },
        retry_config={
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=connection.timeout_s),
        },
    )


def _credential(connection: Connection) -> S3Credential:
    return {
        "access_key_id": connection.key or "",
        "secret_access_key": connection.secret or "",
        "token": connection.token,
        "expires_at": None,
    }


@cache
def _first_process() -> int:
    """Return the process that reached a bucket first: the library's threads live there."""
    return os.getpid()
