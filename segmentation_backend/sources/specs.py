"""What a path or URL names, written as a tensorstore key-value store; nothing is opened here."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from segmentation_backend.errors import (
    ErrorKind,
    InvalidInputError,
    ReadOnlyError,
    ResourceError,
)
from segmentation_backend.sources.allowed import Place, SourceRules
from segmentation_backend.sources.gate import KeyAddress

__all__ = ["ANY_SOURCE", "RETRIES", "CloudSettings", "Location", "locate", "source_rules"]

ANY_SOURCE = "any"
_PUBLIC = "public"

_FORMATS = {
    "zarr": "zarr",
    "zarr2": "zarr2",
    "zarr3": "zarr3",
    "n5": "n5",
    "precomputed": "precomputed",
    "neuroglancer-precomputed": "precomputed",
}
_SCHEMES = ("s3", "gs", "http", "https", "file", "s3+http", "s3+https")
_ZIP = ".zip"
RETRIES = {"max_retries": 4, "initial_delay": "200ms", "max_delay": "2s"}


@dataclass(frozen=True)
class CloudSettings:
    """How to reach S3; with no key, buckets are read anonymously."""

    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    region: str | None = None
    session_token: str | None = None
    sources: str | None = None
    """What may be opened (see `source_rules`); None: everything."""

    def __repr__(self) -> str:
        """Name the endpoint and the region; keys never reach a log."""
        signed = "signed" if self.access_key_id else "anonymous"
        return f"CloudSettings({self.endpoint_url or 'AWS'}, {self.region}, {signed})"


@dataclass(frozen=True)
class Location:
    """A folder of keys: where it is, what it is said to be, and how to reach it."""

    url: str
    """As a person would write it, without the format and without a trailing slash."""
    format: str | None
    """`zarr` (either version), `zarr2`, `zarr3`, `n5`, `precomputed`, or None for unknown."""
    driver: str
    """The key-value store driver: `file`, `s3`, `gcs` or `http`."""
    root: str
    """Bucket, server or `/`: what cannot be gone above."""
    path: str
    """The key prefix below the root (in the zip archive, where there is one), without slashes at
    its ends."""
    cloud: CloudSettings
    archive: str | None = None
    """The key of the zip archive that `path` is in."""
    is_public: bool = False
    """Whether it is open because anybody's data are: nobody vouches for what lies there."""

    @property
    def name(self) -> str:
        """The last part of the path, or the archive, bucket or server when there is none."""
        above = self.root if self.archive is None else self.archive[: -len(_ZIP)]
        return self.path.rsplit("/", 1)[-1] or above.rsplit("/", 1)[-1]

    @property
    def local_path(self) -> Path | None:
        """The folder or file on this machine, or None for a remote one or one in an archive."""
        is_file = self.driver == "file" and self.archive is None
        return Path(self.root, self.path) if is_file else None

    def child(self, relative: str) -> Location:
        """Return the location of `relative` (parts joined by slashes) below this one.

        Raises like `locate`: a folder may be a link that leads elsewhere.
        """
        parts = [p for p in relative.split("/") if p not in ("", ".")]
        if any(unquote(part) == ".." for part in parts):
            raise InvalidInputError(
                f"The dataset {relative!r} must lie below {self.url}; leave out '..'.",
                ErrorKind.INVALID_PARAMETER,
            )
        if not parts:
            return self
        tail = "/".join(parts)
        below = replace(
            self, url=f"{self.url.rstrip('/')}/{tail}", path=f"{self.path}/{tail}".lstrip("/")
        )
        # On a server nothing but the path has changed, and that only grew.
        return _admitted(below, self.cloud) if self.driver == "file" else below

    @property
    def parent(self) -> Location | None:
        """The location one level up, or None at the root."""
        if not self.path:
            return None
        above, _, last = self.path.rpartition("/")
        return replace(self, url=self.url[: -len(last)].rstrip("/") or "/", path=above)

    def kvstore(self, below: Callable[[str], dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return the tensorstore key-value store specification of this folder.

        `below` gives that of the store that holds everything, at a key or a prefix, where it is
        not asked itself.
        """
        folder = f"{self.path}/" if self.path else ""
        store = below or self._store
        if self.archive is not None:
            return {"driver": "zip", "base": store(self.archive), "path": folder}
        return store(folder)

    def doubtful_address(self) -> KeyAddress | None:
        """Return where the keys of a server that may send anything are; None: it is vouched for.

        Nobody vouches for web servers, nor for what anybody may name; buckets of the latter are
        read as anybody, too.
        """
        if self.driver == "http":
            base, mark, query = self.root.partition("?")
            return KeyAddress(f"{base}/", mark + query)
        if not self.is_public:
            return None
        if self.driver == "gcs":
            before = f"https://storage.googleapis.com/storage/v1/b/{self.root}/o/"
            return KeyAddress(before, "?alt=media", is_quoted=True)
        endpoint = self.cloud.endpoint_url
        if endpoint or "." in self.root:
            # No certificate covers a name with a dot in front of Amazon's.
            server = endpoint or f"https://s3.{self.cloud.region or 'us-east-1'}.amazonaws.com"
            return KeyAddress(f"{server.rstrip('/')}/{self.root}/")
        return KeyAddress(f"https://{self.root}.s3.amazonaws.com/")

    def _store(self, folder: str) -> dict[str, Any]:
        """Return the store that holds everything, at a key or a prefix."""
        if self.driver == "file":
            return {"driver": "file", "path": f"{self.root.rstrip('/')}/{folder}"}
        if self.driver == "http":
            return {
                "driver": "http",
                "base_url": self.root,
                "path": f"/{folder}",
                "context": {"http_request_retries": RETRIES},
            }
        if self.driver == "gcs":
            return {
                "driver": "gcs",
                "bucket": self.root,
                "path": folder,
                "context": {"gcs_request_retries": RETRIES},
            }
        return self._s3(folder)

    def _s3(self, folder: str) -> dict[str, Any]:
        cloud = self.cloud
        spec: dict[str, Any] = {
            "driver": "s3",
            "bucket": self.root,
            "path": folder,
            "aws_credentials": {"type": "anonymous"},
            "context": {"s3_request_retries": RETRIES},
        }
        if cloud.access_key_id and cloud.secret_access_key:
            file = _credentials_file(
                cloud.access_key_id, cloud.secret_access_key, cloud.session_token
            )
            spec["aws_credentials"] = {
                "type": "profile",
                "profile": "default",
                "credentials_file": file,
                "config_file": os.devnull,
            }
        if cloud.endpoint_url:
            spec["endpoint"] = cloud.endpoint_url.rstrip("/")
        if cloud.endpoint_url or cloud.region:
            spec["aws_region"] = cloud.region or "us-east-1"
        return spec


@lru_cache(maxsize=8)
def _credentials_file(key: str, secret: str, token: str | None) -> str:
    """Return the path of a private file with the keys: tensorstore takes them in no other way."""
    lines = ["[default]", f"aws_access_key_id={key}", f"aws_secret_access_key={secret}"]
    if token:
        lines.append(f"aws_session_token={token}")
    text = "\n".join([*lines, ""]).encode()
    if hasattr(os, "memfd_create"):
        # In memory only, and gone with the process however it ends.
        descriptor = os.memfd_create("credentials")
        os.write(descriptor, text)
        return f"/proc/self/fd/{descriptor}"
    descriptor, name = tempfile.mkstemp(prefix="mitoglance-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    return name


def locate(path_or_url: str, cloud: CloudSettings | None = None) -> Location:
    """Return where a path or URL points; `zarr://`, `n5://` and the like name the format.

    Both orders are understood, `zarr3://s3://bucket/path` and `s3://bucket/path|zarr3:`. Raises
    InvalidInputError (INVALID_PARAMETER) for an unknown scheme or an empty place. Where
    `cloud.sources` says what may be opened, every other place is a ReadOnlyError (SOURCE_REFUSED),
    and ResourceError (SOURCE_UNAVAILABLE) is raised for a server whose name leads nowhere.
    """
    text, kind = _split_format(path_or_url.strip())
    settings = cloud or CloudSettings()
    _, separator, rest = text.partition("://")
    if not (rest if separator else text).strip("/") and text != "/":
        raise _unreadable(path_or_url, "it names no place")
    return _admitted(_into_archive(_place(text, kind, settings)), settings)


@lru_cache(maxsize=64)
def source_rules(text: str, s3_endpoint: str | None = None) -> SourceRules | None:
    """Return what a list of places, separated by commas, lets through; None for `any`.

    A place is `public` (s3, gs and https servers of the open internet), the absolute path of a
    folder, or the address of a server or bucket, also with a path in it; `s3_endpoint` is what
    `s3://` means instead of Amazon. Raises InvalidInputError (INVALID_PARAMETER) for anything else.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == [ANY_SOURCE]:
        return None
    listed = [word for word in words if word != _PUBLIC]
    for word in listed:
        if word == ANY_SOURCE or not ("://" in word or Path(word).expanduser().is_absolute()):
            raise InvalidInputError(
                f"sources has {word!r}, which is neither 'public', nor the absolute path of a "
                "folder, nor an address such as s3://bucket/prefix or https://server; 'any' "
                "stands alone.",
                ErrorKind.INVALID_PARAMETER,
            )
    own = CloudSettings(endpoint_url=s3_endpoint)
    places = tuple(_meaning(locate(word, own)) for word in listed)
    return SourceRules(text, _PUBLIC in words, places)


def _admitted(location: Location, own: CloudSettings) -> Location:
    """Return a location that may be opened, with the keys only where they are meant for it.

    `own` are the server's settings, before the address named another endpoint.
    """
    rules = None if own.sources is None else source_rules(own.sources, own.endpoint_url)
    if rules is None:
        return location
    verdict = rules.judge(_meaning(location), _addresses)
    if verdict.refusal is not None:
        raise ReadOnlyError(
            f"{location.url} may not be opened over the network here: {verdict.refusal}. This "
            f"server lets its users open: {rules.text or 'nothing'}. Whoever runs it can add the "
            "place to its setting `sources`, or open it on the command line.",
            ErrorKind.SOURCE_REFUSED,
        )
    if verdict.is_listed:
        return location
    # What anybody may name is read as anybody: the server's keys would open what is not public,
    # and show themselves to whoever runs that server.
    anonymous = replace(
        location.cloud, access_key_id=None, secret_access_key=None, session_token=None
    )
    return replace(location, cloud=anonymous, is_public=True)


def _meaning(location: Location) -> Place:
    path = "/".join(part for part in (location.archive, location.path) if part)
    if location.driver == "file":
        # The real path: a link must not lead out of the folders that are listed.
        real = os.path.realpath(os.path.join(location.root, path))
        return Place("file", "", "", real.strip("/"))
    if location.driver == "http":
        return Place("http", location.root.partition("?")[0], "", path)
    endpoint = location.cloud.endpoint_url if location.driver == "s3" else None
    return Place(location.driver, (endpoint or "").rstrip("/"), location.root, path)


def _addresses(host: str) -> Sequence[str]:
    """Return the addresses that a host name has now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as err:
        raise ResourceError(
            f"The name of the server {host[:253]} cannot be looked up ({err}); check the address.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err
    return [str(entry[4][0]) for entry in found]


def _into_archive(place: Location) -> Location:
    """Return the place inside the first zip archive on the way, if there is one."""
    parts = place.path.split("/")
    for count, part in enumerate(parts, 1):
        archive = "/".join(parts[:count])
        if not part.lower().endswith(_ZIP):
            continue
        if place.driver == "file" and Path(place.root, archive).is_dir():
            continue
        return replace(place, archive=archive, path="/".join(parts[count:]))
    return place


def _place(text: str, kind: str | None, settings: CloudSettings) -> Location:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _local(Path(text), kind, settings)
    if scheme == "file":
        return _local(Path(unquote(rest)), kind, settings)
    if scheme in ("http", "https"):
        return _http(text, kind, settings)
    return _bucket(text, kind, settings)


def _bucket(url: str, kind: str | None, cloud: CloudSettings) -> Location:
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        known = ", ".join(f"{s}://" for s in _SCHEMES)
        raise _unreadable(url, f"{scheme}:// is not one of {known}")
    if scheme.startswith("s3+"):
        host, _, rest = rest.partition("/")
        cloud = replace(cloud, endpoint_url=f"{scheme[3:]}://{host}")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise _unreadable(url, "it names no bucket")
    driver = "gcs" if scheme == "gs" else "s3"
    return Location(url.rstrip("/"), kind, driver, bucket, _clean(key), cloud)


def _split_format(text: str) -> tuple[str, str | None]:
    """Return the text without its format, and the format."""
    body, bar, suffix = text.partition("|")
    if bar and suffix.startswith("zip:"):
        inside, bar, suffix = suffix[4:].partition("|")
        body = f"{body.rstrip('/')}/{inside}"
    if bar:
        name = suffix.split("|")[0].strip("/").partition(":")[0]
        if name not in _FORMATS:
            raise _unreadable(text, f"{name!r} is not one of {', '.join(_FORMATS)}")
        return body, _FORMATS[name]
    scheme, separator, rest = text.partition("://")
    if separator and scheme in _FORMATS:
        return rest, _FORMATS[scheme]
    return text, None


def _local(path: Path, kind: str | None, cloud: CloudSettings) -> Location:
    full = Path(os.path.normpath(path.expanduser().absolute()))
    below = "/".join(full.parts[1:])
    return Location(str(full), kind, "file", full.anchor, below, cloud)


def _http(url: str, kind: str | None, cloud: CloudSettings) -> Location:
    parts = urlsplit(url)
    if parts.fragment or not parts.hostname:
        raise _unreadable(url, "an http address is scheme://server/path")
    # A query (a signed address) belongs to every key, so it stays with the server.
    root = f"{parts.scheme}://{parts.netloc}" + (f"?{parts.query}" if parts.query else "")
    plain = url.partition("?")[0].rstrip("/")
    return Location(plain, kind, "http", root, _clean(parts.path), cloud)


def _clean(path: str) -> str:
    return "/".join(part for part in path.split("/") if part)


def _unreadable(text: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot understand the address {text!r}: {why}. Give a local path or a URL such as "
        "s3://bucket/volume.zarr/em or https://server/volume.n5/em.",
        ErrorKind.INVALID_PARAMETER,
    )
