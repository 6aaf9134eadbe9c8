"""Where packs are kept, by its address: a folder of this machine or a bucket."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels.bucket_client import BucketAccess
from segmentation_backend.labels.pack_bucket import PackBucket
from segmentation_backend.labels.pack_folder import PackFolder
from segmentation_backend.labels.packs import Hook, PackStore, no_hook

__all__ = ["open_packs"]


def open_packs(
    location: str | Path, cloud: BucketAccess | None = None, hook: Hook = no_hook
) -> PackStore:
    """Return the packs at a folder or at `s3://bucket/prefix`; nothing is asked of it yet.

    `s3+http://server:port/bucket/prefix` (or `s3+https`) names another server than `cloud` does.
    Without `cloud`, a bucket is reached anonymously. Each volume has a location of its own. Raises
    InvalidInputError (INVALID_PARAMETER) for an address that cannot keep packs.
    """
    if isinstance(location, Path):
        return PackFolder(location, hook)
    scheme, separator, rest = location.partition("://")
    if not separator:
        if not location.strip():
            raise _refused(location, "it names no place")
        return PackFolder(Path(location).expanduser(), hook)
    if scheme == "file" and rest.startswith("/"):
        return PackFolder(Path(unquote(rest)), hook)
    server = None
    if scheme in ("s3+http", "s3+https"):
        host, _, rest = rest.partition("/")
        server = f"{scheme[3:]}://{host}"
    elif scheme != "s3":
        raise _refused(location, _hint(scheme))
    bucket, _, prefix = rest.partition("/")
    if not bucket or server == f"{scheme[3:]}://":
        raise _refused(location, "it names no bucket")
    return PackBucket(bucket, prefix, cloud, server=server, hook=hook)


def _hint(scheme: str) -> str:
    if scheme == "gs":
        return (
            "Google's own protocol is not spoken here; with HMAC keys in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, Google's S3 interface is s3+https://storage.googleapis.com/"
        )
    return f"{scheme}:// cannot keep them"


def _refused(location: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"Label packs cannot be kept at {location!r}: {why}. Give a folder or s3://bucket/prefix.",
        ErrorKind.INVALID_PARAMETER,
    )
