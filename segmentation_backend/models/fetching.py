"""Files from the network: whole or not at all, TLS on, never larger than allowed."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.tls import open_tls

__all__ = ["LARGEST_DOWNLOAD", "check_digest", "fetch", "file_digest", "scratch_file"]

LARGEST_DOWNLOAD = 4 * 2**30
"""Bytes; the largest published model has about 240 MB."""

_TIMEOUT_SECONDS = 30.0
_PIECE = 2**20
_ADVICE = "models come over TLS only. Fetch the file yourself and register that."


def fetch(url: str, path: Path, sha256: str | None = None, largest: int = LARGEST_DOWNLOAD) -> str:
    """Put what an address serves at `path`; return its SHA-256.

    The server's certificate is verified; addresses without TLS are taken from this machine only,
    also after a redirection. InvalidInputError for another address; ResourceError
    (MODEL_UNAVAILABLE) where it cannot be fetched whole; FormatError where it is not `sha256`, or
    larger than `largest` bytes. On an error nothing is left.
    """
    try:
        with open_tls(url, _TIMEOUT_SECONDS, _ADVICE) as answer:
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch_file(path.parent) as part:
                with part.open("wb") as file:
                    found = _copy(answer, file, url, largest)
                check_digest(url, found, sha256)
                part.replace(path)
    except (OSError, HTTPException) as error:
        raise ResourceError(
            f"{url} could not be fetched ({error}); try again, or fetch the file yourself and "
            "register that.",
            ErrorKind.MODEL_UNAVAILABLE,
        ) from error
    return found


@contextmanager
def scratch_file(folder: Path) -> Iterator[Path]:
    """Yield a new file of a folder, gone afterwards unless it was moved."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(name: object, found: str, expected: str | None) -> None:
    """Raise FormatError (WEIGHTS_CHECKSUM_MISMATCH) unless a digest is the expected one, if any."""
    if expected is not None and found != expected.lower():
        raise FormatError(
            f"{name} has SHA-256 {found}, not {expected}; get the right file, or the right digest "
            "from who published it.",
            ErrorKind.WEIGHTS_CHECKSUM_MISMATCH,
        )


def _copy(answer: IO[bytes], file: IO[bytes], url: str, largest: int) -> str:
    """Write what is served into a file, counting; return its SHA-256."""
    promised = getattr(answer, "length", None)
    if promised is not None and promised > largest:
        raise _too_large(url, largest)
    digest, size = hashlib.sha256(), 0
    while piece := answer.read(_PIECE):
        size += len(piece)
        if size > largest:
            raise _too_large(url, largest)
        digest.update(piece)
        file.write(piece)
    if promised is not None and size < promised:
        raise HTTPException(f"{size} of {promised} bytes arrived")
    return digest.hexdigest()


def _too_large(url: str, largest: int) -> FormatError:
    return FormatError(
        f"{url} is larger than {largest} bytes, so it is no model; check the address.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )
