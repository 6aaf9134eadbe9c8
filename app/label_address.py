"""Which labels an address means: `cell` is the newest version, `cell@7` version 7."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.services import services
from segmentation_backend.errors import ErrorKind, NotFoundError

__all__ = ["LabelAddress", "find_labels"]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class LabelAddress:
    """A volume, the version of its labels, and whether that is what it will mean for ever."""

    volume: str
    version: int | None
    """None: the newest, whichever that is when it is asked for."""
    is_immutable: bool


def find_labels(source: str) -> LabelAddress:
    """Return what `<volume>` or `<volume>@<version, branch or tag>` means now.

    Raises NotFoundError VERSION_NOT_FOUND (VOLUME_NOT_FOUND where a name has to be looked up);
    whether the volume and a version given by its number exist is left to whoever reads them.
    """
    volume, at, text = source.partition("@")
    if not at:
        return LabelAddress(volume, None, is_immutable=False)
    if _NUMBER.fullmatch(text):
        return LabelAddress(volume, int(text), is_immutable=True)
    if _NAME.fullmatch(text) and not text.isdecimal():
        version, is_immutable = services().workspace.resolve_version(volume, text)
        return LabelAddress(volume, version, is_immutable)
    raise NotFoundError(
        f"{text[:64]!r} is not a version, branch or tag of {volume[:64]}; versions are whole "
        "numbers.",
        ErrorKind.VERSION_NOT_FOUND,
    )
