"""What a check of the label store says: what is wrong, where, how bad, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Something that is promised does not hold."""
    NOTE = "note"
    """Nothing is wrong; worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    invariant: str
    """The function that found it."""
    where: str
    """Version, branch, chunk, pack: as users name them."""
    what: str
    way_out: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return the finding on one line."""
        return f"{self.severity}: {self.where}: {self.what} {self.way_out} [{self.invariant}]"

    def to_json(self) -> dict[str, Any]:
        """Return the finding for scripts."""
        return {name: str(getattr(self, name)) for name in self.__slots__}
