"""Where a backup is kept: a folder that grows by what is new, or one file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError, ResourceError

__all__ = ["Archive", "create_archive", "open_archive"]

SUFFIX = ".zip"


class Archive(Protocol):
    """Files by name, with slashes; each appears whole or not at all."""

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None when it is not there."""

    def names(self, folder: str) -> list[str]:
        """Return the names of all files in a folder and below, sorted."""

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Yield a stream whose content becomes the file at the end, durably."""
        ...

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Yield the content of a file."""
        ...


@contextmanager
def create_archive(target: Path) -> Iterator[Archive]:
    """Yield an archive to write to: a folder, or with `.zip` at the end a new file.

    A folder may hold earlier backups. Raises ConflictError NAME_TAKEN for a file that is there
    already, ResourceError when nothing can be written there.
    """
    with _explained(target):
        if target.suffix.lower() == SUFFIX:
            yield from _zip(target)
        else:
            target.mkdir(parents=True, exist_ok=True)
            yield _Folder(target)


@contextmanager
def open_archive(source: Path) -> Iterator[Archive]:
    """Yield an archive to read from; NotFoundError PATH_NOT_FOUND when there is none."""
    with _explained(source):
        if source.is_dir():
            yield _Folder(source)
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as file:
                yield _Zip(file)
        else:
            raise NotFoundError(
                f"There is no backup at {source}: name the folder or file that mitoglance backup "
                "wrote.",
                ErrorKind.PATH_NOT_FOUND,
            )


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, name: str) -> int | None:
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        files = (path for path in (self._folder / folder).rglob("*") if path.is_file())
        return sorted(path.relative_to(self._folder).as_posix() for path in files)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        with (self._folder / name).open("rb") as file:
            yield file


class _Zip:
    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file

    def size(self, name: str) -> int | None:
        try:
            return self._file.getinfo(name).file_size
        except KeyError:
            return None

    def names(self, folder: str) -> list[str]:
        return sorted(n for n in self._file.namelist() if n.startswith(f"{folder}/"))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        with self._file.open(name, "w", force_zip64=True) as file:
            yield file  # type: ignore[misc]

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        with self._file.open(name) as file:
            yield file  # type: ignore[misc]


def _zip(target: Path) -> Iterator[Archive]:
    if target.exists():
        raise ConflictError(
            f"{target} is there already and is not overwritten; name another file, or a folder, "
            "which grows by what is new.",
            ErrorKind.NAME_TAKEN,
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    try:
        # What it holds is compressed already.
        with temporary.open("wb") as output, zipfile.ZipFile(output, "w") as file:
            yield _Zip(file)
            file.close()
            output.flush()
            os.fsync(output.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise ResourceError(
            f"The backup at {place} cannot be used ({err.strerror or err}); check that its disk is "
            "there, has room, and that this user may use it.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
