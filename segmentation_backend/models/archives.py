"""`.empanada` archives: a zip of a description and its weights, from people one may not know.

Every member is looked at before anything is written, and written by its own plain name into a
folder made for it; nothing is ever extracted by the path that an archive asks for.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.models.manifests import LONGEST_MANIFEST, WEIGHT_SUFFIXES

__all__ = ["Unpacked", "holds_code", "unpack", "write_archive"]

_MOST_MEMBERS = 16
_LARGEST_MEMBER = 4 * 2**30
_MOST_INFLATED = 200
"""Times that a member may be larger than its compressed form; weights hardly shrink at all."""
_SMALL = 2**20
"""Bytes from which the share above counts."""
_MANIFESTS = (".yaml", ".yml")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ ()+-]{0,199}")
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an archive held, in a folder of one's own."""

    manifest: Path
    weights: tuple[Path, ...]


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Write an archive's files into an empty folder.

    FormatError (UNSUPPORTED_FORMAT) for anything but one description and up to 15 files of
    weights: paths that leave the archive, links, unexpected names, members that are too large or
    inflate too much, damage. Then what was written is for the caller to delete.
    """
    with _opened(archive) as file:
        members = [member for member in file.infolist() if not member.is_dir()]
        names = _checked_names(members, archive)
        for member, name in zip(members, names, strict=True):
            _write(file, member, folder / name, archive)
    manifests = [folder / name for name in names if name.lower().endswith(_MANIFESTS)]
    if len(manifests) != 1:
        raise _refusal(archive, f"it holds {len(manifests)} descriptions (.yaml), not one")
    weights = tuple(folder / name for name in names if name.lower().endswith(WEIGHT_SUFFIXES))
    if not weights:
        raise _refusal(archive, f"it holds no weights ({', '.join(WEIGHT_SUFFIXES)})")
    return Unpacked(manifests[0], weights)


def write_archive(path: Path, manifest_name: str, manifest: str, weights: dict[str, Path]) -> None:
    """Write an archive of a description and of files by their names in it, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.writestr(manifest_name, manifest)
            for name, source in weights.items():
                file.write(source, name)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def holds_code(path: Path) -> bool:
    """Whether a file of weights can run code where it is loaded: all but ONNX and state dicts.

    TorchScript is a zip with a folder `code`; what is no zip at all may be a pickle of anything.
    """
    if path.suffix == ".onnx":
        return False
    if not zipfile.is_zipfile(path):
        return True
    with _opened(path) as file:
        return any("code" in name.split("/")[:-1] for name in file.namelist())


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as file:
            yield file
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: compressed in a way unknown to Python.
        raise _refusal(archive, f"it is not a whole zip archive: {error}") from error


def _checked_names(members: list[zipfile.ZipInfo], archive: Path) -> list[str]:
    """Return the plain names of the members, all of them fit to be written."""
    if len(members) > _MOST_MEMBERS:
        raise _refusal(archive, f"it holds {len(members)} files, more than {_MOST_MEMBERS}")
    for member in members:
        reason = _objection(member)
        if reason is not None:
            raise _refusal(archive, f"its member {member.filename!r} {reason}")
    names = [member.filename.rsplit("/", 1)[-1] for member in members]
    if len({name.lower() for name in names}) < len(names):
        raise _refusal(archive, "two of its files have the same name")
    return names


def _objection(member: zipfile.ZipInfo) -> str | None:
    """Return what is wrong with a member, or None."""
    *folders, name = member.filename.split("/")
    if any(not _PLAIN.fullmatch(part) for part in (*folders, name)):
        return "has a name or path that is not plain"
    if not name.lower().endswith((*_MANIFESTS, *WEIGHT_SUFFIXES)):
        return "is neither a description nor weights"
    # The upper half is the file's mode where the archive was made on Unix, else 0.
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    largest = LONGEST_MANIFEST if name.lower().endswith(_MANIFESTS) else _LARGEST_MEMBER
    if member.file_size > largest:
        return f"has {member.file_size} bytes, more than {largest}"
    if member.file_size > max(_SMALL, _MOST_INFLATED * member.compress_size):
        return f"inflates {member.compress_size} bytes to {member.file_size}"
    return None


def _write(file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, archive: Path) -> None:
    size = 0
    with file.open(member) as source, path.open("xb") as target:
        for piece in _pieces(source):
            size += len(piece)
            if size > member.file_size:
                raise _refusal(archive, f"its member {member.filename!r} is larger than it says")
            target.write(piece)
    if size != member.file_size:
        raise _refusal(archive, f"its member {member.filename!r} ends early")


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        yield piece


def _refusal(archive: Path, reason: str) -> FormatError:
    return FormatError(
        f"The archive {archive.name} cannot be used: {reason}. Get it again from who made it; "
        "nothing of it was kept.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )
